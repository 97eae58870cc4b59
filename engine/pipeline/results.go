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

// Values of a method's result in addition to runs.Top1, the final accuracy.
const (
	LowRes    = "low_res"    // accuracy before fine-tuning at a larger image size, %
	Assembled = "assembled"  // accuracy of the assembled model before fine-tuning, %
	Best      = "best"       // highest accuracy during the training of the target model, %
	BestEpoch = "best_epoch" // the epoch after which Best was reached
)

// results emits the result of every method. All stages must be done.
func (r *runner) results(stages []method.Stage) error {
	state, err := runs.ReadState(context.Background(), r.run.Dir())
	if err != nil {
		return err
	}
	for _, name := range r.config.Run.Methods {
		own := method.StagesOf(name, stages)
		cost, err := r.timeSpentOn(own)
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
			// The last stage determines the final accuracy.
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

// timeSpentOn returns the total time of those of stages that train and are done.
func (r *runner) timeSpentOn(stages []method.Stage) (sum timeSpent, err error) {
	for _, s := range stages {
		outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
		if err != nil {
			return sum, err
		}
		if outcome != nil && s.Trains() {
			sum = sum.add(timeSpent{outcome.Values[TrainSeconds], outcome.Values[CPUSeconds]})
		}
	}
	return sum, nil
}

// decideEpochs returns the number of epochs of the stages, which is usually that of their
// recipe. A stage that must cost as much as others (method.Stage.After) gets as many epochs
// as take the same CPU time, or the same training time on a GPU. The time of an epoch is
// measured on steps of the stage itself.
func (t *training) decideEpochs(ctx context.Context) (int, error) {
	s := t.stages[0]
	if len(s.After) == 0 {
		return s.recipe.Epochs, nil
	}
	compared := slices.DeleteFunc(method.Stages(t.config), func(other method.Stage) bool { return !slices.Contains(s.After, other.Name) })
	budget, err := t.timeSpentOn(compared)
	if err != nil {
		return 0, err
	}
	epoch, err := t.timeEpoch(ctx)
	if err != nil {
		return 0, err
	}
	unit, cost := "CPU time", func(s timeSpent) float64 { return s.cpu }
	if t.backend.Info().Kind != "cpu" { // this process has the GPU to itself
		unit, cost = "training", func(s timeSpent) float64 { return s.seconds }
	}
	epochs := max(1, int(math.Round(cost(budget)/cost(epoch))))
	return epochs, t.run.Emit(runs.Event{Kind: runs.Info, Stage: s.Name, Message: fmt.Sprintf(
		"%d epochs of %.1f s of %s each cost as much as %s: %.0f s", epochs, cost(epoch), unit, compared[len(compared)-1].Method(), cost(budget))})
}

// timeEpoch measures some training steps and returns the time of an epoch. It then discards
// the trainer and its weights, because end-to-end training must start with weights that
// depend only on the seed.
func (t *training) timeEpoch(ctx context.Context) (epoch timeSpent, err error) {
	if epoch, err = t.timeSteps(ctx); err != nil {
		return epoch, err
	}
	t.close() // before opening it again, since there may not be enough memory for two
	t.weights = weights{}
	limits.Release()
	return epoch, t.open()
}

// timeSteps measures steps until it has minSteps and minSeconds of them, and returns the time
// of an epoch.
func (t *training) timeSteps(ctx context.Context) (epoch timeSpent, err error) {
	const (
		minSeconds  = 3.0
		minSteps    = 5
		warmupSteps = 2 // not measured, because the caches are cold
	)
	losses := make([]float64, len(t.stages))
	var sum timeSpent
	watch := startStopwatch()
	for n, steps := 0, 0; ; n++ {
		for b, err := range t.loader.Epoch(ctx, n, 0) {
			if err != nil {
				return epoch, asInterrupted(ctx, err)
			}
			if err := t.trainer.Step(b, t.stages[0].recipe.WarmupLR); err != nil {
				return epoch, err
			}
			if steps++; steps <= warmupSteps {
				if err := t.trainer.Losses(losses); err != nil { // waits for the step
					return epoch, err
				}
				watch.lap()
				continue
			}
			sum = sum.add(watch.lap())
			if measured := steps - warmupSteps; measured >= minSteps && sum.seconds >= minSeconds {
				if err := t.trainer.Losses(losses); err != nil { // waits for all queued steps
					return epoch, err
				}
				sum = sum.add(watch.lap())
				epochs := float64(measured) / float64(t.loader.Steps())
				return timeSpent{sum.seconds / epochs, sum.cpu / epochs}, nil
			}
		}
	}
}
