package pipeline

import (
	"context"
	"errors"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/models"
	"hatchery/presets"
)

// Score is the result of evaluating a network on a data set.
type Score struct {
	Loss float64 // mean cross-entropy
	Top1 float64 // accuracy, %

	Average *Score // score of the averaged weights; nil if they are not evaluated separately
}

// evaluator evaluates networks on a data set.
type evaluator struct {
	backend.Evaluator
	loader *datasets.Loader
	images int
}

// newEvaluator returns an evaluator on a data set, for networks with the image size of n.
// open opens the backend's evaluator for batches of at most most images.
func newEvaluator(c *presets.Config, set *datasets.Set, b backend.Backend, n models.Network, open func(most int) (backend.Evaluator, error)) (*evaluator, error) {
	e, err := open(min(b.Info().EvalBatch, set.Len()))
	if err != nil {
		return nil, err
	}
	loader, err := datasets.NewEvalLoader(set, loaderOptions(c, b, n, e.Batch()))
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &evaluator{e, loader, set.Len()}, nil
}

// run evaluates every network. The scores are in the order of the networks.
func (e *evaluator) run(ctx context.Context) ([]Score, error) {
	for b, err := range e.loader.Epoch(ctx, 0, 0) {
		if err == nil {
			err = e.Grade(b)
		}
		if err != nil {
			_, _ = e.Sums() // resets the sums for the next call
			return nil, err
		}
	}
	sums, err := e.Sums()
	if err != nil {
		return nil, err
	}
	scores := make([]Score, len(sums))
	for i, s := range sums {
		scores[i] = Score{Loss: s.Loss / float64(e.images), Top1: 100 * s.Correct / float64(e.images)} // in this order, 357 of 500 give 71.4 and not 71.39999999999999
	}
	return scores, nil
}
