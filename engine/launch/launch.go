// Package launch executes runs in background processes, which outlive the process that
// started them, and controls these processes.
//
// A run is controlled through a Unix socket in its folder, whether it executes in the
// background or in the foreground; see [Execute]. Its events and its status are read from its
// files; see package runs.
//
// The background process is this program with the command "execute". A program that calls
// Start must pass the arguments of that command to [Main].
package launch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Start creates the folder of a new run under root and starts its process. It returns when
// the process has locked the run and has written its first event, or the error of the
// process. Check the configuration with pipeline.Check first. If the folder has been created,
// dir is set even if there is an error.
//
// If queue is true, the process joins the queue of this machine, and Start returns when it
// has done so.
//
// If ctx is done first, the process is stopped.
func Start(ctx context.Context, root string, c *presets.Config, queue bool) (dir string, err error) {
	if queue {
		if err := checkQueue(root); err != nil {
			return "", fmt.Errorf("launch: queue: %w", err)
		}
	}
	run, err := runs.Create(root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return "", err
	}
	return run.Dir(), startProcess(ctx, run, queue)
}

// Resume starts a process that resumes the run in dir, like Start. The error wraps
// runs.ErrLocked if another process executes the run, and is that of pipeline.CheckResume if
// the run cannot continue with its configuration and data.
func Resume(ctx context.Context, dir string, queue bool) error {
	return ResumeWatching(ctx, dir, queue, nil)
}

// ResumeWatching is Resume with the argument watch of runs.OpenContext.
func ResumeWatching(ctx context.Context, dir string, queue bool, watch func(earlier runs.Status)) error {
	if queue {
		root, _ := splitDir(dir)
		if err := checkQueue(root); err != nil {
			return fmt.Errorf("launch: queue: %w", err)
		}
	}
	// If the configuration cannot be loaded, the new process reports that, and also
	// writes it to the run's events.
	if c, err := presets.Load(filepath.Join(dir, "config.toml"), nil); err == nil {
		if err := pipeline.CheckResume(ctx, c, dir); err != nil {
			return err
		}
	}
	run, err := OpenWatching(ctx, dir, watch)
	if err != nil {
		return err
	}
	return startProcess(ctx, run, queue)
}

// Open is runs.Open for a run that may just have ended: a process that has written its final
// status, or was just killed, may still hold the lock for a moment.
func Open(ctx context.Context, dir string) (*runs.Run, error) { return OpenWatching(ctx, dir, nil) }

// OpenWatching is Open with the argument watch of runs.OpenContext.
func OpenWatching(ctx context.Context, dir string, watch func(earlier runs.Status)) (*runs.Run, error) {
	const timeout, interval = 3 * time.Second, 10 * time.Millisecond
	for end := time.Now().Add(timeout); ; {
		run, err := runs.OpenContext(ctx, dir, watch)
		if !errors.Is(err, runs.ErrLocked) || time.Now().After(end) {
			return run, err
		}
		live, liveErr := runs.ReadLiveness(dir, time.Now())
		if liveErr != nil || live.Alive == runs.IsRunning || live.Alive == runs.IsStalled {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(interval):
		}
	}
}

// startProcess closes run and starts a process that executes it. If that fails, it writes the
// reason to the run.
func startProcess(ctx context.Context, run *runs.Run, queue bool) error {
	dir := run.Dir()
	if err := errors.Join(run.Finish(runs.Waiting, "its process is being started"), run.Close()); err != nil {
		return err
	}
	err := Detach(ctx, Task{Queue: queue, Dir: dir}, runs.LogPath(dir))
	if err == nil {
		return nil
	}
	if s, statusErr := runs.ReadStatus(dir); statusErr == nil && s.Phase != runs.Waiting {
		return err // the process has written the reason itself
	}
	run, openErr := Open(context.WithoutCancel(ctx), dir)
	if openErr != nil {
		return err // the process holds the run after all, and will write the reason
	}
	e, phase := runs.Event{Kind: runs.Error, Message: err.Error()}, runs.Failed
	if ctx.Err() != nil {
		e, phase = runs.Event{Kind: runs.Interrupted, Message: "stopped before it started"}, runs.Stopped
	}
	return errors.Join(err, run.Emit(e), run.Finish(phase, e.Message), run.Close())
}

// Options are the options of Execute.
type Options struct {
	Queue   bool   // wait in the queue of this machine first
	Started func() // called when the first event has been written or the run is queued; may be nil
}

// Execute executes a run in this process, like pipeline.Execute, lets other processes control
// it meanwhile, and closes it. A queued run is executed with the config.toml at the end of the
// wait, not with c.
//
// If the run cannot be controlled, because the file system has no sockets, Execute emits a
// warning.
func Execute(ctx context.Context, c *presets.Config, run *runs.Run, o Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() { // stops the run if it loses its folder; it then tries to save a checkpoint
		defer close(watched)
		select {
		case <-run.Lost():
			stop()
		case <-ctx.Done():
		}
	}()
	defer func() { stop(); <-watched }()
	control := pipeline.NewControl()
	s, serveErr := serve(run, control, stop)
	if serveErr != nil {
		warning := fmt.Sprintf("the run cannot be controlled from other processes, except by SIGTERM, which stops it: %v", serveErr)
		if err := run.Emit(runs.Event{Kind: runs.Warning, Message: warning}); err != nil {
			return errors.Join(err, run.Close())
		}
	}
	turn := newTurn(run)
	var err error
	if o.Queue {
		c, err = turn.wait(ctx, o.Started)
	} else {
		turn.share()
	}
	if o.Started != nil && !o.Queue {
		done := make(chan struct{})
		waiting, cancel := context.WithCancel(ctx)
		go func() {
			defer close(done)
			if control.Await(waiting, func(s pipeline.ControlState) bool { return s.Started }) == nil {
				o.Started()
			}
		}()
		defer func() { cancel(); <-done }()
	}
	if err == nil {
		err = pipeline.Execute(ctx, c, run, control)
	}
	// The order matters: a client that learns that the run has stopped may start another
	// process at once, and a process that locks the run creates its own socket.
	s.stopListening()
	closeErr := errors.Join(run.Close(), turn.end())
	s.finish(err)
	return errors.Join(err, closeErr)
}
