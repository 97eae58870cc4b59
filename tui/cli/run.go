package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Start says how a run is to be started.
type Start struct {
	Detach bool `short:"d" help:"Leave the run in a process of its own and return."`
	Queue  bool `help:"Like --detach, and begin when this machine is free."`
	JSON   bool `help:"Write events as JSON, one a line."`
}

// Run starts a new run of a preset.
func (a *App) Run(ctx context.Context, preset string, sets []string, how Start) error {
	c, err := presets.Load(preset, sets)
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.Check(ctx, c, a.Root); err != nil {
		return err
	}
	if how.Detach || how.Queue {
		dir, err := launch.Start(ctx, a.Root, c, how.Queue)
		return a.detached(dir, err, how)
	}
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, how)
}

// Resume goes on with a run that was stopped, killed or paused.
func (a *App) Resume(ctx context.Context, name string, how Start) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	if slurm.Has(dir) {
		return a.resubmit(ctx, dir, c, how)
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err == nil && live.Alive == runs.IsRunning && live.Status.Phase == runs.Paused {
		return a.control(ctx, dir, launch.Continue)
	}
	if err := pipeline.CheckRest(ctx, c, dir); err != nil {
		// An edit or another data set may be the reason. That is better to know than
		// how to make the rest of the configuration go with it.
		if pipeline.Validate(c) == nil {
			if change := pipeline.CheckResume(ctx, c, dir); errors.As(change, new(*pipeline.Changed)) {
				return change
			}
		}
		return err
	}
	if how.Detach || how.Queue {
		err := launch.ResumeWatching(ctx, dir, how.Queue, a.watching)
		if errors.Is(err, runs.ErrLocked) {
			return badInput{err}
		}
		return a.detached(dir, err, how)
	}
	if err := pipeline.CheckResume(ctx, c, dir); err != nil {
		return err
	}
	run, err := launch.OpenWatching(ctx, dir, a.watching)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, how)
}

// watching says why opening a run takes a while.
func (a *App) watching(earlier runs.Status) {
	fmt.Fprintf(a.Err, "process %d on %s may still be executing it: waiting a few seconds for its heartbeat\n", earlier.PID, earlier.Host)
}

// execute runs to the end in this process and shows what happens.
func (a *App) execute(ctx context.Context, c *presets.Config, run *runs.Run, how Start) error {
	err := a.executeFor(ctx, c, run, func(*runs.State) viewer {
		if how.JSON {
			return newJSON(a.Out)
		}
		return newText(a.Out, run.ID(), c)
	})
	if errors.Is(err, pipeline.ErrInterrupted) && !how.JSON {
		fmt.Fprintf(a.Out, "go on with: hatchery resume %s\n", a.ref(run.Dir()))
	}
	return err
}

// executeFor executes run in this process and closes it. view makes a viewer from the
// state before.
func (a *App) executeFor(ctx context.Context, c *presets.Config, run *runs.Run, view func(before *runs.State) viewer) error {
	state, follower, err := keepLog(ctx, run, c)
	if err != nil {
		return errors.Join(err, run.Close())
	}
	end := a.display(context.Background(), follower, state, folding(run.Dir()), view(state))
	defer end()
	return launch.Execute(ctx, c, run, launch.Options{})
}

// keepLog writes events of run to its log from now on. It returns the state before
// them and a follower of them.
func keepLog(ctx context.Context, run *runs.Run, c *presets.Config) (*runs.State, *runs.Follower, error) {
	before, follower, err := runs.Attach(ctx, run.Dir())
	if err != nil {
		return nil, nil, err
	}
	state, next, log := before.Clone(), folding(run.Dir()), newLog(run.Log(), run.ID(), c)
	run.Observe(func(e runs.Event) {
		state = next(state, e)
		log.event(e, state) // a log that cannot be written does not stop the run
	})
	return before, follower, nil
}
