package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
)

// Stop stops a run of another process: after the step under way, after the
// epoch, or at once and without a checkpoint.
func (a *App) Stop(ctx context.Context, name string, afterEpoch, kill bool) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	switch {
	case afterEpoch && kill:
		return badInput{errors.New("--after-epoch and --kill exclude each other")}
	case slurm.Has(dir) && afterEpoch:
		return badInput{errors.New("a run in Slurm's hands stops after the step under way: leave --after-epoch out")}
	case slurm.Has(dir):
		return a.stopJobs(ctx, dir, kill)
	case kill:
		if err := launch.Kill(ctx, dir); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "killed; go on from its last checkpoint with: hatchery resume %s\n", a.ref(dir))
		return nil
	case afterEpoch:
		return a.control(ctx, dir, func(ctx context.Context, dir string) (launch.Reply, error) {
			reply, err := launch.StopAfterEpoch(ctx, dir, func(r launch.Reply) { fmt.Fprintln(a.Out, r.Message) })
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(a.Err, "not waited for; the run will stop all the same")
			}
			return reply, err
		})
	}
	return a.control(ctx, dir, launch.Stop)
}

// Pause makes a run of another process idle until it is resumed.
func (a *App) Pause(ctx context.Context, name string) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	if slurm.Has(dir) {
		return badInput{errors.New("a run in Slurm's hands cannot idle, for others wait for its nodes; stop and resume it")}
	}
	return a.control(ctx, dir, launch.Pause)
}

// control makes a request to a run and says what came of it.
func (a *App) control(ctx context.Context, dir string, do func(context.Context, string) (launch.Reply, error)) error {
	reply, err := do(ctx, dir)
	if err != nil {
		return err // a request that was taken stands, whether this waits for it or not
	}
	fmt.Fprintln(a.Out, reply.Message)
	if s, err := runs.ReadStatus(dir); err == nil && (s.Phase == runs.Stopped || s.Phase == runs.Paused) {
		fmt.Fprintf(a.Out, "go on with: hatchery resume %s\n", a.ref(dir))
	}
	return nil
}

// Wait waits for the end of a run of another process. Its error is the run's.
func (a *App) Wait(ctx context.Context, name string) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	live, err := a.wait(ctx, dir)
	if err != nil {
		return err
	}
	return a.ending(dir, live)
}

func (a *App) wait(ctx context.Context, dir string) (runs.Liveness, error) {
	if slurm.Has(dir) {
		return a.waitJobs(ctx, dir)
	}
	return launch.Wait(ctx, dir, func(l runs.Liveness) {
		fmt.Fprintf(a.Err, "warning: no sign of life from the run on %s since %s\n", l.Status.Host, l.Status.Heartbeat.Local().Format(time.TimeOnly))
	})
}

// ending is the error of a run that has ended, nil if it is done.
func (a *App) ending(dir string, l runs.Liveness) error {
	id := filepath.Base(dir)
	switch {
	case l.Alive == runs.IsCrashed:
		return fmt.Errorf("%s crashed; go on from its last checkpoint with: hatchery resume %s", id, a.ref(dir))
	case l.Status.Phase == runs.Finished:
		return nil
	case l.Status.Phase == runs.Failed:
		return fmt.Errorf("%s failed: %s", id, l.Status.Message)
	case l.Status.Phase == runs.Waiting:
		return fmt.Errorf("%s has stages left that no process executes; go on with: hatchery resume %s", id, a.ref(dir))
	}
	return fmt.Errorf("%s: %w; go on with: hatchery resume %s", id, pipeline.ErrInterrupted, a.ref(dir))
}
