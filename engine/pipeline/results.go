package pipeline

import (
	"context"
	"fmt"
	"math"
	"time"

	"hatchery/engine/runs"
)

// Values of a method's result beside runs.Top1, the accuracy at its end.
const (
	Assembled = "assembled"  // accuracy of the assembled model before fine-tuning, %
	Best      = "best"       // highest accuracy while the target model was trained, %
	BestEpoch = "best_epoch" // the epoch after which it was reached
)

// results reports every method, when all stages are done.
func (r *runner) results(stages []Stage) error {
	events, err := runs.ReadEvents(r.run.Dir())
	if err != nil {
		return err
	}
	state := runs.Fold(events)
	for _, method := range r.config.Run.Methods {
		values := runs.Values{}
		seconds, err := r.trainSeconds(method, stages)
		if err != nil {
			return err
		}
		values[TrainSeconds] = seconds
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
			case Finetune, E2E:
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
		if s.Method == method || s.Kind == Meta && method != EndToEnd {
			own = append(own, s)
		}
	}
	return own
}

// trainSeconds sums the training time of a method's stages that are done.
func (r *runner) trainSeconds(method string, stages []Stage) (float64, error) {
	sum := 0.0
	for _, s := range ofMethod(method, stages) {
		outcome, err := runs.ReadOutcome(r.run.Dir(), s.Name)
		if err != nil {
			return 0, err
		}
		if outcome != nil {
			sum += outcome.Values[TrainSeconds]
		}
	}
	return sum, nil
}

// decideEpochs is how long the stages are trained. For end-to-end training at
// equal cost it is as many epochs as take the time that the first method's
// training took, measured on a few steps of this stage on the same machine.
func (t *training) decideEpochs(ctx context.Context) (int, error) {
	s := t.stages[0]
	first := t.config.Run.Methods[0]
	if s.Kind != E2E || t.config.Run.Equal != "cost" || first == EndToEnd {
		return s.recipe.Epochs, nil
	}
	budget, err := t.trainSeconds(first, Stages(t.config))
	if err != nil {
		return 0, err
	}
	seconds, err := t.timeEpoch(ctx)
	if err != nil {
		return 0, err
	}
	epochs := max(1, int(math.Round(budget/seconds)))
	return epochs, t.run.Emit(runs.Event{Kind: runs.Info, Stage: s.Name, Message: fmt.Sprintf(
		"%d epochs of %.1f s take as long as %s took: %.0f s", epochs, seconds, first, budget)})
}

// timeEpoch measures steps on weights that are thrown away.
func (t *training) timeEpoch(ctx context.Context) (seconds float64, err error) {
	const (
		least  = 3 * time.Second
		warmUp = 2 // steps
	)
	trial, err := newTrainer(t.stages, weights{}, t.pool, t.config.Seed)
	if err != nil {
		return 0, err
	}
	steps, start := 0, time.Now()
	for epoch := 0; ; epoch++ {
		for b, err := range t.loader.Epoch(ctx, epoch, 0) {
			if err != nil {
				return 0, interrupted(ctx, err)
			}
			if err := trial.step(b, t.stages[0].recipe.WarmupLR); err != nil {
				return 0, err
			}
			if steps++; steps == warmUp {
				start = time.Now()
			}
			if took := time.Since(start); steps > warmUp && took >= least {
				return took.Seconds() / float64(steps-warmUp) * float64(t.loader.Steps()), nil
			}
		}
	}
}
