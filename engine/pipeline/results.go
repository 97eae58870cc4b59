package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/engine/runs"
)

// Values of a method's result beside runs.Top1, the accuracy at its end.
const (
	LowRes    = "low_res"    // accuracy before fine-tuning at a larger image size, %
	Assembled = "assembled"  // accuracy of the assembled model before fine-tuning, %
	Best      = "best"       // highest accuracy while the target model was trained, %
	BestEpoch = "best_epoch" // the epoch after which it was reached
)

// results emits the result of every method, once all stages are done.
func (r *runner) results(stages []method.Stage) error {
	state, err := runs.ReadState(context.Background(), r.run.Dir())
	if err != nil {
		return err
	}
	for _, name := range r.config.Run.Methods {
		own := method.Of(name, stages)
		cost, err := r.spentOn(own)
		if err != nil {
			return err
		}
		values := runs.Values{TrainSeconds: cost.seconds, CPUSeconds: cost.cpu}
		for _, s := range own {
			if !s.Target {
				continue
			}
			outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
			if err != nil {
				return err
			}
			if outcome == nil {
				return fmt.Errorf("stage %s has no outcome", s.Name)
			}
			if !s.Trains() {
				values[Assembled] = outcome.Values[runs.Top1]
				continue
			}
			// The last stage decides.
			if top1, ok := values[runs.Top1]; ok {
				values[LowRes] = top1
			}
			values[runs.Top1] = outcome.Values[runs.Top1]
			values[runs.EvalLoss] = outcome.Values[runs.EvalLoss]
			if best, ok := state.Stage(s.Name).Best(); ok {
				values[Best], values[BestEpoch] = best.Values[runs.Top1], float64(best.Epoch)
			}
		}
		if err := r.run.Emit(runs.Event{Kind: runs.Result, Method: name, Values: values}); err != nil {
			return err
		}
	}
	return nil
}

// spentOn sums what the training stages among stages took, as far as they are done.
func (r *runner) spentOn(stages []method.Stage) (sum spent, err error) {
	for _, s := range stages {
		outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
		if err != nil {
			return sum, err
		}
		if outcome != nil && s.Trains() {
			sum = sum.plus(spent{outcome.Values[TrainSeconds], outcome.Values[CPUSeconds]})
		}
	}
	return sum, nil
}

// decideEpochs returns the number of epochs that the stages are trained for: usually that
// of their recipe. A stage that must cost as much as others (method.Stage.After) gets as
// many epochs as take the processor time of those, measured on steps of this very stage.
func (t *training) decideEpochs(ctx context.Context) (int, error) {
	s := t.stages[0]
	if len(s.After) == 0 {
		return s.recipe.Epochs, nil
	}
	compared := slices.DeleteFunc(method.Stages(t.config), func(other method.Stage) bool { return !slices.Contains(s.After, other.Name) })
	budget, err := t.spentOn(compared)
	if err != nil {
		return 0, err
	}
	epoch, err := t.timeEpoch(ctx)
	if err != nil {
		return 0, err
	}
	what, cost := "processor time", func(s spent) float64 { return s.cpu }
	if t.backend.Info().Kind != "cpu" { // which has the device to itself
		what, cost = "training", func(s spent) float64 { return s.seconds }
	}
	epochs := max(1, int(math.Round(cost(budget)/cost(epoch))))
	return epochs, t.run.Emit(runs.Event{Kind: runs.Info, Stage: s.Name, Message: fmt.Sprintf(
		"%d epochs of %.1f s of %s cost as much as %s did: %.0f s", epochs, cost(epoch), what, compared[len(compared)-1].Method(), cost(budget))})
}

// timeEpoch measures some training steps. It then discards the trainer with its
// weights, because end-to-end training must begin with weights that depend only on the
// seed.
func (t *training) timeEpoch(ctx context.Context) (epoch spent, err error) {
	if epoch, err = t.timeSteps(ctx); err != nil {
		return epoch, err
	}
	t.close() // before opening again, since there may not be memory for two
	t.weights = weights{}
	limits.Release()
	return epoch, t.open()
}

func (t *training) timeSteps(ctx context.Context) (epoch spent, err error) {
	const (
		least     = 3.0 // seconds
		fewest    = 5   // steps, beside
		untracked = 2   // first ones, which find nothing in the caches
	)
	losses := make([]float64, len(t.stages))
	var sum spent
	watch := startWatch()
	for n, steps := 0, 0; ; n++ {
		for b, err := range t.loader.Epoch(ctx, n, 0) {
			if err != nil {
				return epoch, interrupted(ctx, err)
			}
			if err := t.trainer.Step(b, t.stages[0].recipe.WarmupLR); err != nil {
				return epoch, err
			}
			if steps++; steps <= untracked {
				if err := t.trainer.Losses(losses); err != nil { // wait
					return epoch, err
				}
				watch.lap()
				continue
			}
			sum = sum.plus(watch.lap())
			if measured := steps - untracked; measured >= fewest && sum.seconds >= least {
				if err := t.trainer.Losses(losses); err != nil { // wait for what is in the queue
					return epoch, err
				}
				sum = sum.plus(watch.lap())
				epochs := float64(measured) / float64(t.loader.Steps())
				return spent{sum.seconds / epochs, sum.cpu / epochs}, nil
			}
		}
	}
}
