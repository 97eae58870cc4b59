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

// ErrNotRunning is wrapped by the error of a request to a run that no process executes.
var ErrNotRunning = errors.New("the run is not being executed")

// Pause makes the run in dir save a checkpoint and idle before its next training step. It
// returns when the run is paused. The process keeps its memory. If the run ends first, the
// reply describes its end.
func Pause(ctx context.Context, dir string) (Reply, error) { return send(ctx, dir, doPause, nil) }

// Continue makes a paused run continue, and returns when it does. It has no effect on a run
// that is not paused.
func Continue(ctx context.Context, dir string) (Reply, error) {
	return send(ctx, dir, doContinue, nil)
}

// Stop makes the run in dir save a checkpoint and stop after the current training step. It
// returns when the checkpoint is on disk and another process could resume the run. If ctx is
// done first, the request remains in effect.
func Stop(ctx context.Context, dir string) (Reply, error) { return send(ctx, dir, doStop, nil) }

// StopAfterEpoch is like Stop, but at the end of the current epoch. accepted, which may be
// nil, is called when the run has accepted the request.
func StopAfterEpoch(ctx context.Context, dir string, accepted func(Reply)) (Reply, error) {
	return send(ctx, dir, doStopAfterEpoch, accepted)
}

// send sends a request and returns the final reply.
func send(ctx context.Context, dir string, do action, accepted func(Reply)) (Reply, error) {
	r, err := exchange(ctx, dir, do, accepted)
	switch {
	case err == nil && r.Error != "":
		return r, fmt.Errorf("launch: %s", r.Error)
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return r, ctx.Err()
	}
	return r, explainFailure(dir, err)
}

func exchange(ctx context.Context, dir string, do action, accepted func(Reply)) (Reply, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	// A process that can answer acknowledges a request at once.
	conn.SetDeadline(time.Now().Add(talkTimeout))
	// When ctx is done, reading and writing fail.
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
		if accepted != nil {
			accepted(r)
		}
		conn.SetReadDeadline(time.Time{})
		if err := ctx.Err(); err != nil { // the line above may have removed the deadline that ctx set
			return Reply{}, err
		}
	}
}

// explainFailure returns an error that explains why a request failed.
func explainFailure(dir string, err error) error {
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
		return fmt.Errorf("launch: %s is being executed on %s and can be controlled only there: %w", dir, live.Status.Host, err)
	case live.Status.Process.Start != 0 && !live.Status.Local():
		return fmt.Errorf("launch: %s is being executed on another machine, or in another container, named %s, and can be controlled only there: %w", dir, host, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("launch: %s is %v, but its process %d has not answered yet; the request remains in effect, and SIGKILL ends the process at once", dir, live, live.Status.PID)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("launch: the process of %s ended before it answered", dir)
	}
	return fmt.Errorf("launch: %s is %v but cannot be controlled; SIGTERM to process %d stops it: %w", dir, live, live.Status.PID, err)
}

// Kill kills the process of the run in dir without a checkpoint, and returns when it is gone.
// Work since the last checkpoint is lost; the run can be resumed. Kill also works if the
// process does not answer, but only on the machine of the process.
func Kill(ctx context.Context, dir string) error {
	live, err := runs.ReadLiveness(dir, time.Now())
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	if live.Alive == runs.IsFinished || live.Alive == runs.IsCrashed {
		return fmt.Errorf("launch: %w: %s is %v", ErrNotRunning, dir, live)
	}
	process, err := os.FindProcess(live.Status.PID) // the handle ensures that the PID is not reused
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	defer func() { _ = process.Release() }()
	if !live.Status.Local() {
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
	// pollEvery is the interval at which Wait checks the run.
	pollEvery = 200 * time.Millisecond
	// startTimeout is how long the process of a run may take to start.
	startTimeout = 15 * time.Second
)

// Wait waits until the run in dir has ended and returns its final liveness. On another
// machine, a crashed run seems to be stalled, and Wait keeps waiting. stalled, which may be
// nil, is called when the run begins to stall.
func Wait(ctx context.Context, dir string, stalled func(runs.Liveness)) (runs.Liveness, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	before := runs.IsRunning
	for {
		live, err := runs.ReadLiveness(dir, time.Now())
		if err != nil {
			return live, fmt.Errorf("launch: %w", err)
		}
		starting := live.Status.Phase == runs.Waiting && live.Silent < startTimeout
		switch {
		case live.Alive == runs.IsCrashed, live.Alive == runs.IsFinished && !starting:
			return live, nil
		case live.Alive == runs.IsStalled && before != runs.IsStalled && stalled != nil:
			stalled(live)
		}
		before = live.Alive
		select {
		case <-ctx.Done():
			return live, ctx.Err()
		case <-tick.C:
		}
	}
}
