package host

import (
	"context"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
)

// evaluator implements backend.Evaluator.
type evaluator struct {
	executor        *cpu.Executor[float32]
	batch           int // images
	images, targets []float32
	outputs         []outputs // of each network
	sums            []backend.Sum
}

// outputs are an executor's results for each image of a batch.
type outputs struct{ losses, correct []float32 }

// evalArena is the size in bytes of the arena of an evaluation without training. It holds
// a few thousand tokens, enough to keep many cores busy.
const evalArena = 16 << 20

// NewEvaluator implements backend.Backend. The evaluator does not copy the slices in w.
func (h *Host) NewEvaluator(networks []models.Network, maxBatch int, w backend.Weights, _ *backend.Pixels) (backend.Evaluator, error) {
	return newEvaluator(networks, maxBatch, evalArena, func(plan *graph.Plan) (*cpu.Executor[float32], error) {
		return cpu.Compile[float32](plan, h.pool, w)
	})
}

// newEvaluator compiles one graph that evaluates all networks.
func newEvaluator(networks []models.Network, maxBatch int, arena int64, compile func(*graph.Plan) (*cpu.Executor[float32], error)) (*evaluator, error) {
	g, plan, batch, err := buildEvaluation(context.Background(), networks, maxBatch, arena)
	if err != nil {
		return nil, err
	}
	executor, err := compile(plan)
	if err != nil {
		return nil, err
	}
	e := &evaluator{executor: executor, batch: batch, images: executor.Data(g.Images), targets: executor.Data(g.Targets), sums: make([]backend.Sum, len(networks))}
	for _, o := range g.Outputs {
		e.outputs = append(e.outputs, outputs{executor.Data(o.Losses), executor.Data(o.Correct)})
	}
	return e, nil
}

// buildEvaluation plans the evaluation of networks with the largest batch that fits into
// an arena of the given bytes, at least 1 and at most maxBatch. The loss of an image has
// the same bits for every batch size.
func buildEvaluation(ctx context.Context, networks []models.Network, maxBatch int, arena int64) (g *models.Graph, plan *graph.Plan, batch int, err error) {
	for batch = maxBatch; ; {
		if g, err = models.BuildEvaluation(ctx, networks, models.BuildOptions{Batch: batch}); err != nil {
			return nil, nil, 0, err
		}
		var wanted []*graph.Node
		for _, o := range g.Outputs {
			wanted = append(wanted, o.Losses, o.Correct)
		}
		if plan, err = g.Plan(wanted...); err != nil {
			return nil, nil, 0, err
		}
		need := arenaBytes(plan)
		if need <= arena || batch == 1 {
			return g, plan, batch, nil
		}
		// The size of an arena is nearly proportional to that of the batch.
		batch = max(1, min(batch-1, int(int64(batch)*arena/need)))
	}
}

// Batch implements backend.Evaluator.
func (e *evaluator) Batch() int { return e.batch }

// Grade implements backend.Evaluator.
func (e *evaluator) Grade(b *datasets.Batch) error {
	copy(e.images, b.Images)
	copy(e.targets, b.Targets)
	e.executor.Run()
	for i, o := range e.outputs {
		for j := range b.Size {
			e.sums[i].Loss += float64(o.losses[j])
			e.sums[i].Correct += float64(o.correct[j])
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
