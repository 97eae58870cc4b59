// Package launch runs an experiment as a process that outlives the one that
// started it, and talks to such a process.
//
// A run is controlled through a Unix socket in its folder, whoever started it
// and wherever it executes: see [Execute]. What happens in it is read from its
// files, as package runs says.
//
// The process is this program again, with the command "execute": a program
// that calls Start must hand that command's arguments to [Main].
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

// Start makes the folder of a new run under root and starts its process. It
// returns when the process holds the run and has written its first event, or
// with the reason why it has not. Check the configuration with pipeline.Check
// before. If there is a folder, dir is set beside an error too.
//
// With queue the process waits until this machine is free, behind those that
// wait already, and Start returns when it is in the queue.
//
// If ctx ends before, the process is stopped.
func Start(ctx context.Context, root string, c *presets.Config, queue bool) (dir string, err error) {
	if queue {
		if err := checkQueue(root); err != nil {
			return "", fmt.Errorf("launch: the queue: %w", err)
		}
	}
	run, err := runs.Create(root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return "", err
	}
	return run.Dir(), handOver(ctx, run, queue)
}

// Resume starts a process that goes on with the run in dir, like Start. The
// error wraps runs.ErrLocked if a process has it already, and is that of
// pipeline.CheckResume if the run cannot continue with its configuration and data.
func Resume(ctx context.Context, dir string, queue bool) error {
	return ResumeWatching(ctx, dir, queue, nil)
}

// ResumeWatching is Resume with the argument watch of runs.OpenContext.
func ResumeWatching(ctx context.Context, dir string, queue bool, watch func(earlier runs.Status)) error {
	if queue {
		root, _ := place(dir)
		if err := checkQueue(root); err != nil {
			return fmt.Errorf("launch: the queue: %w", err)
		}
	}
	// If the configuration cannot be loaded, the new process reports that, in the
	// run's events too.
	if c, err := presets.Load(filepath.Join(dir, "config.toml"), nil); err == nil {
		if err := pipeline.CheckResume(ctx, c, dir); err != nil {
			return err
		}
	}
	run, err := OpenWatching(ctx, dir, watch)
	if err != nil {
		return err
	}
	return handOver(ctx, run, queue)
}

// Open is runs.Open for a run that may have ended a moment ago: the process
// whose last word is read, or that was just killed, may still hold it.
func Open(ctx context.Context, dir string) (*runs.Run, error) { return OpenWatching(ctx, dir, nil) }

// OpenWatching is Open with the argument watch of runs.OpenContext.
func OpenWatching(ctx context.Context, dir string, watch func(earlier runs.Status)) (*runs.Run, error) {
	const moment, often = 3 * time.Second, 10 * time.Millisecond
	for end := time.Now().Add(moment); ; {
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
		case <-time.After(often):
		}
	}
}

// handOver closes run, has a new process execute it, and writes into the run
// why if that fails.
func handOver(ctx context.Context, run *runs.Run, queue bool) error {
	dir := run.Dir()
	if err := errors.Join(run.Finish(runs.Waiting, "its process is being started"), run.Close()); err != nil {
		return err
	}
	err := Detach(ctx, Task{Queue: queue, Dir: dir}, runs.LogPath(dir))
	if err == nil {
		return nil
	}
	if s, statusErr := runs.ReadStatus(dir); statusErr == nil && s.Phase != runs.Waiting {
		return err // the process has said so itself
	}
	run, openErr := Open(context.WithoutCancel(ctx), dir)
	if openErr != nil {
		return err // the process has it after all, and will say
	}
	e, how := runs.Event{Kind: runs.Error, Message: err.Error()}, runs.Failed
	if ctx.Err() != nil {
		e, how = runs.Event{Kind: runs.Interrupted, Message: "stopped before it began"}, runs.Stopped
	}
	return errors.Join(err, run.Emit(e), run.Finish(how, e.Message), run.Close())
}

// Options are how Execute executes a run.
type Options struct {
	Queue   bool   // wait for the machine to be free first
	Started func() // called when the first event is written or the run is queued; may be nil
}

// Execute executes a run in this process, like pipeline.Execute, lets other
// processes control it meanwhile, and closes it. A run that had to wait for its
// turn is executed as its config.toml is then, not as c is.
//
// Where the run cannot be controlled, because the file system has no sockets,
// it says so in a warning.
func Execute(ctx context.Context, c *presets.Config, run *runs.Run, o Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() { // stops a run that has lost its folder; it then saves what it can
		defer close(watched)
		select {
		case <-run.Lost():
			stop()
		case <-ctx.Done():
		}
	}()
	defer func() { stop(); <-watched }()
	control := pipeline.NewControl()
	s, unserved := serve(run, control, stop)
	if unserved != nil {
		warning := fmt.Sprintf("the run cannot be controlled from other processes, except by SIGTERM, which stops it: %v", unserved)
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
	// In this order: the next process that locks the run makes its own socket,
	// and who is told that the run has stopped may start that process at once.
	s.unlisten()
	closeErr := errors.Join(run.Close(), turn.end())
	s.answer(err)
	return errors.Join(err, closeErr)
}
