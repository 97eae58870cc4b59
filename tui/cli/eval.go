package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"hatchery/engine/pipeline"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
)

// Eval scores a checkpoint of a stage on the evaluation set.
func (a *App) Eval(ctx context.Context, name, stage string, best bool) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	stages := pipeline.Stages(c)
	i := slices.IndexFunc(stages, func(s pipeline.Stage) bool { return s.Name == stage })
	if i < 0 {
		var names []string
		for _, s := range stages {
			names = append(names, s.Name)
		}
		return badInput{fmt.Errorf("the run has no stage %q; it has %v", stage, names)}
	}
	var checkpoint *runs.Checkpoint
	if best {
		if checkpoint, err = runs.LoadBest(dir, stage); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("stage %s has no best checkpoint yet: there is one after its first evaluation; without --best its latest checkpoint is evaluated", stage)
		} else if err != nil {
			err = fmt.Errorf("%w; without --best the latest checkpoint of the stage is evaluated", err)
		}
	} else {
		var warnings []string
		checkpoint, warnings, err = runs.LoadLatest(dir, stage)
		for _, w := range warnings {
			fmt.Fprintln(a.Err, "warning:", w)
		}
	}
	if err != nil {
		return badInput{err}
	}
	score, warnings, err := pipeline.Evaluate(ctx, c, dir, stages[i], checkpoint)
	for _, w := range warnings {
		fmt.Fprintln(a.Err, "warning:", w)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s after epoch %d: top-1 %s, loss %.4f\n", stage, checkpoint.Epoch, quantity.Accuracy(score.Top1), score.Loss)
	return nil
}
