package host

import (
	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
)

// evaluator runs networks forward.
type evaluator struct {
	executor        *cpu.Executor[float32]
	images, targets []float32
	graded          []graded // by network
	sums            []backend.Sum
}

// graded is what the executor leaves of each image.
type graded struct{ losses, correct []float32 }

// NewEvaluator implements backend.Backend. The evaluator reads the slices in w.
func (h *Host) NewEvaluator(networks []models.Network, batch int, w backend.Weights, _ *backend.Pixels) (backend.Evaluator, error) {
	return newEvaluator(networks, batch, w, h.pool)
}

// newEvaluator compiles the evaluation of networks in one graph.
func newEvaluator(networks []models.Network, batch int, w backend.Weights, pool *cpu.Pool) (*evaluator, error) {
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
	e := &evaluator{executor: executor, images: executor.Data(g.Images), targets: executor.Data(g.Targets), sums: make([]backend.Sum, len(networks))}
	for _, o := range g.Outputs {
		e.graded = append(e.graded, graded{executor.Data(o.Losses), executor.Data(o.Correct)})
	}
	return e, nil
}

// Grade implements backend.Evaluator.
func (e *evaluator) Grade(b *datasets.Batch) error {
	copy(e.images, b.Images)
	copy(e.targets, b.Targets)
	e.executor.Run()
	for i, g := range e.graded {
		for j := range b.Size {
			e.sums[i].Loss += float64(g.losses[j])
			e.sums[i].Correct += float64(g.correct[j])
		}
	}
	return nil
}

// Sums implements backend.Evaluator.
func (e *evaluator) Sums() ([]backend.Sum, error) {
	sums := append([]backend.Sum{}, e.sums...)
	clear(e.sums)
	return sums, nil
}

// Close implements backend.Evaluator.
func (e *evaluator) Close() error { return nil }
