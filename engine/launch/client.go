package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"hatchery/engine/runs"
)

// ErrNotRunning is wrapped by the error of a request to a run that no process
// executes.
var ErrNotRunning = errors.New("the run is not being executed")

// Pause makes the run in dir idle before its next training step, with a
// checkpoint saved, and returns when it does. The process keeps its memory. If
// the run ends before, the reply says how.
func Pause(ctx context.Context, dir string) (Reply, error) { return ask(ctx, dir, doPause, nil) }

// Continue lets a paused run go on, and returns when it does. One that is not
// paused goes on too.
func Continue(ctx context.Context, dir string) (Reply, error) {
	return ask(ctx, dir, doContinue, nil)
}

// Stop makes the run in dir stop after the step under way and save a
// checkpoint. It returns when that is on disk and another process could resume
// the run. If ctx ends before, the request stands.
func Stop(ctx context.Context, dir string) (Reply, error) { return ask(ctx, dir, doStop, nil) }

// StopAfterEpoch is Stop at the end of the epoch under way. waits, which may
// be nil, is called when the run has taken the request.
func StopAfterEpoch(ctx context.Context, dir string, waits func(Reply)) (Reply, error) {
	return ask(ctx, dir, doStopAfterEpoch, waits)
}

// ask sends a request and returns the final reply.
func ask(ctx context.Context, dir string, do action, waits func(Reply)) (Reply, error) {
	r, err := converse(ctx, dir, do, waits)
	switch {
	case err == nil && r.Error != "":
		return r, fmt.Errorf("launch: %s", r.Error)
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return r, ctx.Err()
	}
	return r, explain(dir, err)
}

func converse(ctx context.Context, dir string, do action, waits func(Reply)) (Reply, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	// A request is acknowledged at once, if there is a process that can.
	conn.SetDeadline(time.Now().Add(talkTimeout))
	// The end of ctx ends reading and writing.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if err := json.NewEncoder(conn).Encode(request{do}); err != nil && !errors.Is(err, syscall.EPIPE) {
		return Reply{}, err
	}
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return Reply{}, err
		}
		var r Reply
		if err := json.Unmarshal(line, &r); err != nil {
			return Reply{}, err
		}
		if r.Final {
			return r, nil
		}
		if waits != nil {
			waits(r)
		}
		conn.SetReadDeadline(time.Time{})
		if err := ctx.Err(); err != nil { // which may have set a deadline before
			return Reply{}, err
		}
	}
}

// explain turns the failure of a conversation into what it means.
func explain(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("launch: %s belongs to another user: %w", dir, err)
	}
	live, liveErr := runs.ReadLiveness(dir, time.Now())
	if liveErr != nil {
		return fmt.Errorf("launch: %w", liveErr)
	}
	host, _ := os.Hostname()
	switch {
	case live.Alive == runs.IsFinished || live.Alive == runs.IsCrashed:
		return fmt.Errorf("launch: %w: %s is %v", ErrNotRunning, dir, live)
	case live.Status.Host != host:
		return fmt.Errorf("launch: %s is executed on %s and can be controlled only there: %w", dir, live.Status.Host, err)
	case live.Status.Process.Start != 0 && !live.Status.Here():
		return fmt.Errorf("launch: %s is executed on another machine, or in another container, named %s, and can be controlled only there: %w", dir, host, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("launch: %s is %v, but its process %d does not answer yet; the request stands, and SIGKILL ends it at once", dir, live, live.Status.PID)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("launch: the process of %s ended before it answered", dir)
	}
	return fmt.Errorf("launch: %s is %v but cannot be controlled; SIGTERM to process %d stops it: %w", dir, live, live.Status.PID, err)
}

// Kill ends the process of the run in dir at once, without a checkpoint, and
// returns when it is gone. Work since the last checkpoint is lost; the run can
// be resumed. It works on a process that does not answer too, and only on the
// machine where that is.
func Kill(ctx context.Context, dir string) error {
	live, err := runs.ReadLiveness(dir, time.Now())
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if live.Alive == runs.IsFinished || live.Alive == runs.IsCrashed {
		return fmt.Errorf("launch: %w: %s is %v", ErrNotRunning, dir, live)
	}
	process, err := os.FindProcess(live.Status.PID) // holds on to it: the pid cannot become another's
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	defer process.Release()
	if !live.Status.Here() {
		return fmt.Errorf("launch: the process of %s runs on another machine, or in another container, named %s, and can be killed only there", dir, live.Status.Host)
	}
	if err := process.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("launch: process %d of %s: %w", live.Status.PID, dir, err)
	}
	if _, err := Wait(ctx, dir, nil); err != nil {
		return err
	}
	run, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	const message = "killed on request; steps since the last checkpoint are lost"
	return errors.Join(run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message), run.Close())
}

const (
	// lookEvery is how often Wait looks at the run.
	lookEvery = 200 * time.Millisecond
	// startTimeout is how long a run's process may take to come into being.
	startTimeout = 15 * time.Second
)

// Wait returns when the run in dir has ended, with how it did. From another machine a crash looks like a stall, which is waited out;
// stalled, which may be nil, is called when one begins.
func Wait(ctx context.Context, dir string, stalled func(runs.Liveness)) (runs.Liveness, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	was := runs.IsRunning
	for {
		live, err := runs.ReadLiveness(dir, time.Now())
		if err != nil {
			return live, fmt.Errorf("launch: %w", err)
		}
		starting := live.Status.Phase == runs.Waiting && live.Silent < startTimeout
		switch {
		case live.Alive == runs.IsCrashed, live.Alive == runs.IsFinished && !starting:
			return live, nil
		case live.Alive == runs.IsStalled && was != runs.IsStalled && stalled != nil:
			stalled(live)
		}
		was = live.Alive
		select {
		case <-ctx.Done():
			return live, ctx.Err()
		case <-tick.C:
		}
	}
}
