package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// Evaluate evaluates a checkpoint of a stage on the evaluation set of its run; for a module,
// it evaluates the hybrid network. warnings describe how the images have changed since the
// stage was trained. The error is an *Invalid if the checkpoint belongs to another network,
// other classes or another meta model.
func Evaluate(ctx context.Context, c *presets.Config, dir string, s method.Stage, checkpoint *runs.Checkpoint) (sc Score, warnings []string, err error) {
	d, err := division(c)
	if err != nil {
		return Score{}, nil, err
	}
	if err := sameNetwork(c, dir, s, checkpoint); err != nil {
		return Score{}, nil, err
	}
	network := s.Network(d)
	w := weights{}
	if s.Inside != "" {
		frozen, err := runs.LoadFinal(dir, s.Inside)
		if err != nil {
			return Score{}, nil, explain(c, dir, err)
		}
		b := &startedStage{Stage: s, id: checkpoint.Identity, legacy: checkpoint.Metadata}
		if err := b.checkInputs(c, dir); err != nil {
			return Score{}, nil, err
		}
		w.load(frozen, ownerOf(c, s.Inside))
	}
	w.load(checkpoint, s.Owner)
	for _, p := range network.Params() {
		if len(w[p.Leaf()]) != p.Size() {
			return Score{}, nil, fmt.Errorf("%s: it has no parameter %s of %d elements: it holds another network", checkpoint.Path, p.Name, p.Size())
		}
	}
	_, eval, err := datasets.Open(ctx, Source(c))
	if err != nil {
		return Score{}, nil, err
	}
	if warnings, err = sameEvaluation(ctx, c, dir, checkpoint, eval); err != nil {
		return Score{}, nil, err
	}
	b, err := openBackend(c)
	if err != nil {
		return Score{}, nil, err
	}
	defer b.Close()
	sc, err = score(ctx, c, b, network, eval, w)
	return sc, warnings, err
}

// sameNetwork returns an *Invalid if the configuration describes another network, or another
// data set or image size, than the one that the checkpoint was trained with.
func sameNetwork(c *presets.Config, dir string, s method.Stage, checkpoint *runs.Checkpoint) error {
	if checkpoint.Identity == nil {
		return nil
	}
	var others []string
	for _, d := range changes(c, s, checkpoint.Identity.Recipe) {
		switch table, _, _ := strings.Cut(d.key, "."); {
		case !d.known():
		case table == "model", table == "modules", d.key == "data.name", d.key == "highres.image":
			others = append(others, fmt.Sprintf("%s was %s when %s was trained, and is %s now", d.key, d.was, s.Name, d.now))
		}
	}
	if others == nil {
		return nil
	}
	return &Invalid{fmt.Errorf("%s holds another network:\n  %s\nto evaluate it, restore the earlier values in %s",
		checkpoint.Path, strings.Join(others, "\n  "), filepath.Join(dir, "config.toml"))}
}

// sameEvaluation compares the classes and the evaluation images with those at the time of
// training.
func sameEvaluation(ctx context.Context, c *presets.Config, dir string, checkpoint *runs.Checkpoint, eval *datasets.Set) (warnings []string, err error) {
	id := checkpoint.Identity
	if id == nil {
		return []string{checkpoint.Path + " was written by an older version of hatchery, which did not record the configuration and data of a stage: cannot check whether it was trained on these classes"}, nil
	}
	if other := otherClass(id.Data.Classes, recordedClasses(eval.Classes)); other != "" {
		return nil, &Invalid{fmt.Errorf("%s was trained on other classes than the data set has now: %s; restore the earlier classes, or set data.root in %s to a folder that has them",
			checkpoint.Path, other, filepath.Join(dir, "config.toml"))}
	}
	now, err := newView(c, nil, eval).images(ctx, eval)
	if err != nil {
		return nil, asInterrupted(ctx, err)
	}
	if other := otherImages(id.Data.Eval, now); other != "" {
		warnings = append(warnings, "the evaluation images have changed since the stage was trained: "+other)
	}
	return warnings, nil
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
		return Score{}, asInterrupted(ctx, err)
	}
	return scores[0], nil
}
