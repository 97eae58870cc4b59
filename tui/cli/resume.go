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

// Resume resumes a run that was stopped, killed or paused.
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
		// The reason may be an edited configuration or a changed data set. If so, report that
		// rather than how to adapt the rest of the configuration to it.
		if pipeline.Validate(c) == nil {
			if change := pipeline.CheckResume(ctx, c, dir); errors.As(change, new(*pipeline.Changed)) {
				return change
			}
		}
		return err
	}
	if cmd.Detach || cmd.Queue {
		err := launch.ResumeWatching(ctx, dir, cmd.Queue, a.printWaiting)
		if errors.Is(err, runs.ErrLocked) {
			return badInput{err}
		}
		if err != nil {
			return err
		}
		return a.printDetached(dir, cmd.Start)
	}
	if err := pipeline.CheckResume(ctx, c, dir); err != nil {
		return err
	}
	run, err := launch.OpenWatching(ctx, dir, a.printWaiting)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, cmd.JSON)
}

// resubmit submits the stages of a run that are neither done nor in Slurm's queue.
func (a *App) resubmit(ctx context.Context, dir string, c *presets.Config, flags Start) error {
	if flags.Queue {
		return badInput{errors.New("this run's stages are Slurm jobs, and Slurm has its own queue: omit --queue")}
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
	jobs, err := slurm.StageJobs(ctx, dir)
	if err != nil {
		return err
	}
	if len(jobs) > 0 {
		fmt.Fprintln(a.Out, "every stage that is not done is in the queue; hatchery status shows them")
		return nil
	}
	// Two jobs ended at the same time, and each missed the results of the other.
	run, err := launch.Open(ctx, dir)
	if err != nil {
		return err
	}
	return a.execute(ctx, c, run, flags.JSON)
}

// printWaiting tells the user why opening a run takes a while.
func (a *App) printWaiting(earlier runs.Status) {
	fmt.Fprintf(a.Err, "process %d on %s may still be executing the run: waiting a few seconds for its heartbeat\n", earlier.PID, earlier.Host)
}
