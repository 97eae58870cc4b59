package pipeline

import (
	"context"
	"fmt"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// Evaluate scores a checkpoint of a stage on the evaluation set of its run: for
// a module, the hybrid network it stands in.
func Evaluate(ctx context.Context, c *presets.Config, dir string, s Stage, checkpoint *runs.Checkpoint) (Score, error) {
	d, err := division(c)
	if err != nil {
		return Score{}, err
	}
	network, owner := d.TargetNet(), models.Target
	w := weights{}
	switch {
	case s.Kind == Meta:
		network, owner = d.MetaNet(), models.Meta
	case s.Kind == HighRes:
		d.Target = c.Final()
		network = d.TargetNet()
	case s.Module > 0:
		network = d.Hybrid(s.Module)
		meta, err := runs.LoadFinal(dir, "meta")
		if err != nil {
			return Score{}, err
		}
		w.load(meta, models.Meta)
	}
	w.load(checkpoint, owner)
	for _, p := range network.Params() {
		if len(w[p.Leaf()]) != p.Size() {
			return Score{}, fmt.Errorf("%s: lacks parameter %s of %d elements: it is of another network", checkpoint.Path, p.Name, p.Size())
		}
	}
	_, eval, err := datasets.Open(ctx, Source(c))
	if err != nil {
		return Score{}, err
	}
	b, err := openBackend(c)
	if err != nil {
		return Score{}, err
	}
	defer b.Close()
	return score(ctx, c, b, network, eval, w)
}

// score evaluates one network.
func score(ctx context.Context, c *presets.Config, b backend.Backend, n models.Network, set *datasets.Set, w weights) (Score, error) {
	e, err := newEvaluator(c, set, b, n, func(batch int) (backend.Evaluator, error) {
		return b.NewEvaluator([]models.Network{n}, batch, backend.Weights(w), pixels(b, set, datasets.Augment{}))
	})
	if err != nil {
		return Score{}, err
	}
	defer e.Close()
	scores, err := e.run(ctx)
	if err != nil {
		return Score{}, interrupted(ctx, err)
	}
	return scores[0], nil
}
