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

// Eval evaluates a checkpoint of a stage on the evaluation set.
type Eval struct {
	RunArg
	Stage string `help:"Stage whose weights to evaluate; by default the last stage of the first method."`
	Best  bool   `help:"Evaluate the best checkpoint rather than the latest."`
}

func (*Eval) Effect() Effect { return Reads }

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
			err = fmt.Errorf("stage %s has no best checkpoint before its first evaluation; omit --best to evaluate its latest checkpoint", stage)
		} else if err != nil {
			err = fmt.Errorf("%w; omit --best to evaluate the latest checkpoint of the stage", err)
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
		return ctx.Err() // pipeline.ErrInterrupted would suggest resuming
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
