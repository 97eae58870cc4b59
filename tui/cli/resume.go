package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Resume goes on with a run that was stopped, killed or paused.
type Resume struct {
	RunArg
	Start
}

func (cmd *Resume) Effect() Effect { return cmd.effect() }

func (cmd *Resume) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	if slurm.Submitted(dir) {
		return a.resubmit(ctx, dir, c, cmd.Start)
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err == nil && live.Alive == runs.IsRunning && live.Status.Phase == runs.Paused {
		return a.control(ctx, dir, launch.Continue)
	}
	if err := pipeline.CheckUnfinished(ctx, c, dir); err != nil {
		// An edit or another data set may be the reason. That is better to know than
		// how to make the rest of the configuration go with it.
		if pipeline.Validate(c) == nil {
			if change := pipeline.CheckResume(ctx, c, dir); errors.As(change, new(*pipeline.Changed)) {
				return change
			}
		}
		return err
	}
	if cmd.Detach || cmd.Queue {
		err := launch.ResumeWatching(ctx, dir, cmd.Queue, a.watching)
		if errors.Is(err, runs.ErrLocked) {
			return badInput{err}
		}
		return a.detached(dir, err, cmd.Start)
	}
	if err := pipeline.CheckResume(ctx, c, dir); err != nil {
		return err
	}
	run, err := launch.OpenWatching(ctx, dir, a.watching)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, cmd.JSON)
}

// resubmit submits the stages of a run that are neither done nor in the queue.
func (a *App) resubmit(ctx context.Context, dir string, c *presets.Config, how Start) error {
	if how.Queue {
		return badInput{errors.New("this run's stages are jobs of Slurm, which has a queue of its own: leave --queue out")}
	}
	if err := pipeline.CheckRemote(ctx, c); err != nil {
		return err
	}
	stages, err := slurm.Resume(ctx, dir, c)
	if err != nil {
		return err
	}
	if len(stages) > 0 {
		fmt.Fprintf(a.Out, "submitted %s\n", strings.Join(stages, ", "))
		return nil
	}
	if state, err := runs.ReadState(ctx, dir); err != nil || state.Phase == runs.Finished {
		fmt.Fprintln(a.Out, "every stage is done")
		return err
	}
	places, err := slurm.StageJobs(ctx, dir)
	if err != nil {
		return err
	}
	if len(places) > 0 {
		fmt.Fprintln(a.Out, "every stage that is not done is in the queue; hatchery status shows where")
		return nil
	}
	// Two jobs ended at the same time, and neither saw the other's results.
	run, err := launch.Open(ctx, dir)
	if err != nil {
		return err
	}
	return a.execute(ctx, c, run, how.JSON)
}

// watching says why opening a run takes a while.
func (a *App) watching(earlier runs.Status) {
	fmt.Fprintf(a.Err, "process %d on %s may still be executing it: waiting a few seconds for its heartbeat\n", earlier.PID, earlier.Host)
}
