package pipeline

import (
	"context"

	"hatchery/engine/runs"
	"hatchery/models"
)

// evalTarget tells which weights of a stage are evaluated.
type evalTarget int

const (
	evalWeights  evalTarget = iota // the weights; there is no average
	evalBoth                       // the weights and, separately, their moving average
	evalAverages                   // the moving average alone
)

func (s *trainStage) evalTarget() evalTarget {
	switch {
	case s.recipe.EMA == 0:
		return evalWeights
	case s.recipe.EMAMode == "instead":
		return evalAverages
	}
	return evalBoth
}

// evalNetworks returns the networks that are evaluated for stages that are trained together,
// in the order of the stages.
func evalNetworks(stages []*trainStage) (networks []models.Network) {
	for _, s := range stages {
		if s.evalTarget() != evalAverages {
			networks = append(networks, s.network)
		}
		if s.evalTarget() != evalWeights {
			networks = append(networks, s.network.EMA())
		}
	}
	return networks
}

// evaluate evaluates every stage.
func (t *training) evaluate(ctx context.Context) ([]Score, error) {
	all, err := t.evaluator.run(ctx)
	if err != nil || t.stages[0].evalTarget() != evalBoth {
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

// Values of an evaluation for averaged weights that are evaluated in addition to the weights
// themselves.
const (
	AverageEvalLoss = "ema_eval_loss"
	AverageTop1     = "ema_top1"
)
