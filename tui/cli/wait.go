package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/tui/watch"
)

// Wait waits for the end of a run of another process and returns the run's error.
type Wait struct{ RunArg }

func (*Wait) Effect() Effect { return Reads }

func (cmd *Wait) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	live, err := a.wait(ctx, dir)
	if err != nil {
		return err
	}
	return a.endError(dir, live)
}

func (a *App) wait(ctx context.Context, dir string) (runs.Liveness, error) {
	if slurm.Submitted(dir) {
		return a.waitJobs(ctx, dir)
	}
	return launch.Wait(ctx, dir, func(l runs.Liveness) {
		fmt.Fprintf(a.Err, "warning: no heartbeat from the run on %s since %s\n", l.Status.Host, l.Status.Heartbeat.Local().Format(time.TimeOnly))
	})
}

// pollEvery is the time between two requests to Slurm, which serves the whole cluster.
const pollEvery = 5 * time.Second

// waitJobs waits until no job of a submitted run runs or waits, and returns the liveness of
// the run.
func (a *App) waitJobs(ctx context.Context, dir string) (runs.Liveness, error) {
	for {
		jobs, err := slurm.StageJobs(ctx, dir)
		if err != nil {
			return runs.Liveness{}, err
		}
		live, err := runs.ReadLiveness(dir, time.Now())
		if err != nil || live.Alive == runs.IsFinished {
			return live, err
		}
		state, err := runs.ReadState(ctx, dir)
		if err != nil {
			return live, err
		}
		if failed, ok := watch.SettleJobs(state, live, jobs); ok {
			failed.Status.Message += fmt.Sprintf("; when this is fixed, resume with: hatchery resume %s", a.ref(dir))
			return failed, nil
		}
		if live, err = a.waitPoll(ctx, dir, live); err != nil {
			return live, err
		}
	}
}

// waitPoll waits until Slurm can be asked again, or the run has ended.
func (a *App) waitPoll(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, error) {
	const readEvery = 200 * time.Millisecond
	for end := time.Now().Add(pollEvery); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return live, ctx.Err()
		case <-time.After(readEvery):
		}
		var err error
		if live, err = runs.ReadLiveness(dir, time.Now()); err != nil || live.Alive == runs.IsFinished {
			return live, err
		}
	}
	return live, nil
}

// endError returns the error of a run that has ended, or nil if the run is done.
func (a *App) endError(dir string, l runs.Liveness) error {
	id := filepath.Base(dir)
	switch {
	case l.Alive == runs.IsCrashed:
		return fmt.Errorf("%s crashed; resume from its last checkpoint with: hatchery resume %s", id, a.ref(dir))
	case l.Status.Phase == runs.Finished:
		return nil
	case l.Status.Phase == runs.Failed:
		return fmt.Errorf("%s failed: %s", id, l.Status.Message)
	case l.Status.Phase == runs.Waiting:
		return fmt.Errorf("%s has stages left that no process executes; resume with: hatchery resume %s", id, a.ref(dir))
	}
	return fmt.Errorf("%s: %w; resume with: hatchery resume %s", id, pipeline.ErrInterrupted, a.ref(dir))
}
