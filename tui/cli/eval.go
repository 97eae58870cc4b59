package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Eval evaluates a checkpoint of a stage on the evaluation set.
type Eval struct {
	RunArg
	Stage string `help:"Stage whose weights to evaluate; by default the last stage of the first method that has a checkpoint."`
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
		if stage, err = furthestStage(c, dir); err != nil {
			return err
		}
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

// furthestStage returns the name of the last stage of a run's first method that has a
// checkpoint.
func furthestStage(c *presets.Config, dir string) (string, error) {
	if len(c.Run.Methods) > 0 {
		for _, s := range slices.Backward(method.StagesOf(c.Run.Methods[0], method.Stages(c))) {
			checkpoint, err := runs.LatestHeader(dir, s.Name)
			if err != nil {
				return "", err
			}
			if checkpoint != nil {
				return s.Name, nil
			}
		}
	}
	return "", badInput{fmt.Errorf("%s has no checkpoint to evaluate yet", dir)}
}
