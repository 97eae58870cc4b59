package pipeline

import (
	"context"

	"hatchery/engine/runs"
	"hatchery/models"
)

// judgement says which weights of a stage are evaluated.
type judgement int

const (
	onWeights  judgement = iota // its weights; there is no average
	onBoth                      // its weights, and their moving average beside them
	onAverages                  // the moving average alone
)

func (s *trainStage) judged() judgement {
	switch {
	case s.recipe.EMA == 0:
		return onWeights
	case s.recipe.EMAMode == "instead":
		return onAverages
	}
	return onBoth
}

// judgedNetworks returns the networks that are evaluated for stages that are
// trained together, in the order of the stages.
func judgedNetworks(stages []*trainStage) (networks []models.Network) {
	for _, s := range stages {
		if s.judged() != onAverages {
			networks = append(networks, s.network)
		}
		if s.judged() != onWeights {
			networks = append(networks, s.network.EMA())
		}
	}
	return networks
}

// evaluate scores every stage.
func (t *training) evaluate(ctx context.Context) ([]Score, error) {
	all, err := t.evaluator.run(ctx)
	if err != nil || t.stages[0].judged() != onBoth {
		return all, err
	}
	scores := make([]Score, len(t.stages))
	for i := range scores {
		scores[i] = all[2*i]
		scores[i].Average = &all[2*i+1]
	}
	return scores, nil
}

func (s Score) values() runs.Values {
	v := runs.Values{runs.EvalLoss: s.Loss, runs.Top1: s.Top1}
	if a := s.Average; a != nil {
		v[AverageEvalLoss], v[AverageTop1] = a.Loss, a.Top1
	}
	return v
}

// Values of an evaluation for averaged weights that are scored beside the
// weights themselves.
const (
	AverageEvalLoss = "ema_eval_loss"
	AverageTop1     = "ema_top1"
)
