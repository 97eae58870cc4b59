package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hatchery/engine/limits"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Values of a method's result beside runs.Top1, the accuracy at its end.
const (
	LowRes    = "low_res"    // accuracy before fine-tuning at a larger image size, %
	Assembled = "assembled"  // accuracy of the assembled model before fine-tuning, %
	Best      = "best"       // highest accuracy while the target model was trained, %
	BestEpoch = "best_epoch" // the epoch after which it was reached
)

// results reports every method, when all stages are done.
func (r *runner) results(stages []Stage) error {
	state, err := runs.ReadState(context.Background(), r.run.Dir())
	if err != nil {
		return err
	}
	for _, method := range r.config.Run.Methods {
		cost, err := r.spentOn(method, stages)
		if err != nil {
			return err
		}
		values := runs.Values{TrainSeconds: cost.seconds, CPUSeconds: cost.cpu}
		for _, s := range ofMethod(method, stages) {
			outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
			if err != nil {
				return err
			}
			if outcome == nil {
				return fmt.Errorf("stage %s has no outcome", s.Name)
			}
			switch s.Kind {
			case Assemble:
				values[Assembled] = outcome.Values[runs.Top1]
			case Finetune, E2E, HighRes: // the last one stands
				if top1, ok := values[runs.Top1]; ok {
					values[LowRes] = top1
				}
				values[runs.Top1] = outcome.Values[runs.Top1]
				values[runs.EvalLoss] = outcome.Values[runs.EvalLoss]
				if best, ok := state.Stage(s.Name).Best(); ok {
					values[Best], values[BestEpoch] = best.Values[runs.Top1], float64(best.Epoch)
				}
			}
		}
		if err := r.run.Emit(runs.Event{Kind: runs.Result, Method: method, Values: values}); err != nil {
			return err
		}
	}
	return nil
}

// ofMethod lists the stages that a method consists of, the meta model's among
// them where it is shared.
func ofMethod(method string, stages []Stage) []Stage {
	var own []Stage
	for _, s := range stages {
		if s.partOf(method) {
			own = append(own, s)
		}
	}
	return own
}

func (s Stage) partOf(method string) bool {
	return s.Method == method || s.Kind == Meta && method != EndToEnd
}

// spentOn sums what a method's stages that are done took.
func (r *runner) spentOn(method string, stages []Stage) (sum spent, err error) {
	for _, s := range ofMethod(method, stages) {
		outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
		if err != nil {
			return sum, err
		}
		if outcome != nil && s.Kind != Assemble {
			sum = sum.plus(spent{outcome.Values[TrainSeconds], outcome.Values[CPUSeconds]})
		}
	}
	return sum, nil
}

// atCost says whether end-to-end training takes as much as the first method did.
func atCost(c *presets.Config) bool {
	return c.Run.Equal == "cost" && c.Run.Methods[0] != EndToEnd
}

// decideEpochs is how long the stages are trained. For end-to-end training at
// equal cost it is as many epochs as take the processor time that the first
// method's training took, measured on steps of this very stage.
func (t *training) decideEpochs(ctx context.Context) (int, error) {
	s := t.stages[0]
	first := t.config.Run.Methods[0]
	if s.Kind != E2E || !atCost(t.config) {
		return s.recipe.Epochs, nil
	}
	budget, err := t.spentOn(first, slices.DeleteFunc(Stages(t.config), func(s Stage) bool { return s.Kind == HighRes }))
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
		"%d epochs of %.1f s of %s cost as much as %s did: %.0f s", epochs, cost(epoch), what, first, cost(budget))})
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
