package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
)

// Eval scores a checkpoint of a stage on the evaluation set.
type Eval struct {
	RunArg
	Stage string `help:"Stage whose weights to evaluate; by default the last one of the first method."`
	Best  bool   `help:"The best checkpoint rather than the last."`
}

func (*Eval) Effect() Effect { return Looks }

func (cmd *Eval) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	stage := cmd.Stage
	if stage == "" {
		last, ok := method.Last(c)
		if !ok {
			return badInput{fmt.Errorf("%s has no method in run.methods, so there is no stage to evaluate", dir)}
		}
		stage = last.Name
	}
	s, err := pipeline.FindStage(c, stage)
	if err != nil {
		return err
	}
	var checkpoint *runs.Checkpoint
	if cmd.Best {
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
	score, warnings, err := pipeline.Evaluate(ctx, c, dir, s, checkpoint)
	if ctx.Err() != nil {
		return ctx.Err() // there is nothing to resume, which pipeline.ErrInterrupted would say
	}
	for _, w := range warnings {
		fmt.Fprintln(a.Err, "warning:", w)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s after epoch %d: top-1 %s, loss %.4f\n", stage, checkpoint.Epoch, quantity.Accuracy(score.Top1), score.Loss)
	return nil
}
