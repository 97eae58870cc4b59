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

func (*Wait) Effect() Effect { return Looks }

func (cmd *Wait) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
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
	if slurm.Submitted(dir) {
		return a.waitJobs(ctx, dir)
	}
	return launch.Wait(ctx, dir, func(l runs.Liveness) {
		fmt.Fprintf(a.Err, "warning: no sign of life from the run on %s since %s\n", l.Status.Host, l.Status.Heartbeat.Local().Format(time.TimeOnly))
	})
}

// lookEvery is how often Slurm is asked about a run that somebody waits for. It
// serves the whole cluster, so this is not often.
const lookEvery = 5 * time.Second

// waitJobs returns when no job of a run in Slurm's hands runs or waits, with how
// the run is then.
func (a *App) waitJobs(ctx context.Context, dir string) (runs.Liveness, error) {
	for {
		places, err := slurm.StageJobs(ctx, dir)
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
		if over, gone := watch.GivenUp(state, live, places); gone {
			over.Status.Message += fmt.Sprintf("; mend it and go on with: hatchery resume %s", a.ref(dir))
			return over, nil
		}
		if live, err = a.untilNews(ctx, dir, live); err != nil {
			return live, err
		}
	}
}

// untilNews waits until Slurm can be asked again, or the run has ended.
func (a *App) untilNews(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, error) {
	const often = 200 * time.Millisecond
	for end := time.Now().Add(lookEvery); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return live, ctx.Err()
		case <-time.After(often):
		}
		var err error
		if live, err = runs.ReadLiveness(dir, time.Now()); err != nil || live.Alive == runs.IsFinished {
			return live, err
		}
	}
	return live, nil
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
