package pipeline

import (
	"context"

	"hatchery/datasets"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
)

// Score is how well a network does on a data set.
type Score struct {
	Loss float64 // mean cross-entropy
	Top1 float64 // accuracy, 0..1
}

// evaluator runs networks forward over a data set.
type evaluator struct {
	graph    *models.Graph
	executor *cpu.Executor[float32]
	loader   *datasets.Loader
}

// newEvaluator compiles the evaluation of networks in one graph, with the
// parameters in w.
func newEvaluator(networks []models.Network, set *datasets.Set, batch int, w weights, pool *cpu.Pool) (*evaluator, error) {
	batch = min(batch, set.Len())
	g, err := models.BuildEvaluation(networks, models.BuildOptions{Batch: batch})
	if err != nil {
		return nil, err
	}
	var wanted []*graph.Node
	for _, o := range g.Outputs {
		wanted = append(wanted, o.Losses, o.Correct)
	}
	plan, err := g.Plan(wanted...)
	if err != nil {
		return nil, err
	}
	executor, err := cpu.Compile[float32](plan, pool, w)
	if err != nil {
		return nil, err
	}
	loader, err := datasets.NewEvalLoader(set, datasets.Options{Batch: batch, Prefetch: 2})
	if err != nil {
		return nil, err
	}
	return &evaluator{g, executor, loader}, nil
}

// run evaluates every network; the scores are in the order of the networks.
func (e *evaluator) run(ctx context.Context) ([]Score, error) {
	scores := make([]Score, len(e.graph.Outputs))
	images, targets := e.executor.Data(e.graph.Images), e.executor.Data(e.graph.Targets)
	seen := 0
	for b, err := range e.loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		copy(images, b.Images)
		copy(targets, b.Targets)
		e.executor.Run()
		for i, o := range e.graph.Outputs {
			losses, correct := e.executor.Data(o.Losses), e.executor.Data(o.Correct)
			for j := range b.Size {
				scores[i].Loss += float64(losses[j])
				scores[i].Top1 += float64(correct[j])
			}
		}
		seen += b.Size
	}
	for i := range scores {
		scores[i].Loss /= float64(seen)
		scores[i].Top1 /= float64(seen)
	}
	return scores, nil
}
