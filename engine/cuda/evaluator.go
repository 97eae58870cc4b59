//go:build gpu

package cuda

import (
	"context"
	"fmt"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/models"
)

// evaluator evaluates networks on one device.
type evaluator struct {
	gpu      *gpu
	batch    int // images
	program  *lower.Program
	store    store // the parameters in it may be a trainer's
	executor *executor
	feeder   *feeder
	results  results
	sizes    [2]int // images in the batch of each slot of results
	sums     []backend.Sum
	begin    func() error // updates the parameters before the first batch; may be nil
}

// newEvaluator makes an evaluator that reads its parameters from weights, at the offsets of
// params.
func (g *gpu) newEvaluator(networks []models.Network, batch int, params *lower.Params, weights *store, pixels *backend.Pixels) (*evaluator, error) {
	graph, err := models.BuildEvaluation(context.Background(), networks, models.BuildOptions{Batch: batch})
	if err != nil {
		return nil, err
	}
	tuner, err := g.newTuner(nil)
	if err != nil {
		return nil, err
	}
	e := &evaluator{gpu: g, batch: batch, sums: make([]backend.Sum, len(networks))}
	e.program, err = lower.Evaluation(graph, params, lower.Options{T: g.dtype, Batch: batch, Supports: tuner.exists, Pixels: (*lower.Pixels)(pixels)})
	tuner.close() // before anything is allocated
	if err != nil {
		return nil, err
	}
	e.store.regions = weights.regions
	if err := g.Do(e.open); err != nil {
		e.Close()
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	return e, nil
}

// Batch implements backend.Evaluator.
func (e *evaluator) Batch() int { return e.batch }

func (e *evaluator) open(c *driver.Context) error {
	g, s := e.gpu, &e.store
	err := s.allocRegions(c, g.queue, map[lower.Region]int64{lower.Arena: e.program.ArenaBytes, lower.Input: e.program.InputBytes, lower.Results: e.program.ResultBytes})
	if err != nil {
		return err
	}
	if e.executor, err = g.newExecutor(c, e.program, s, nil); err != nil {
		return err
	}
	if err := e.executor.rehearse(); err != nil { // which does not change the parameters
		return err
	}
	if e.feeder, err = newFeeder(c, g.queue, e.program, s, nil, 0); err != nil {
		return err
	}
	if e.results, err = newResults(c, e.program, s, len(e.sizes)); err != nil {
		return err
	}
	if err := g.queue.Synchronize(); err != nil {
		return err
	}
	return e.executor.capture()
}

// Grade implements backend.Evaluator.
func (e *evaluator) Grade(b *datasets.Batch) error {
	if e.begin != nil && e.results.empty() { // the first batch since Sums
		if err := e.begin(); err != nil {
			return err
		}
	}
	err := e.gpu.Do(func(*driver.Context) error {
		if e.results.full() {
			if err := e.readOne(); err != nil {
				return err
			}
		}
		main := e.executor.streams[0]
		if err := e.feeder.feed(main, b, 0); err != nil {
			return err
		}
		if err := e.executor.run(); err != nil {
			return err
		}
		slot, err := e.results.request(main)
		e.sizes[slot] = b.Size
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", e.gpu.name(), err)
	}
	return nil
}

// readOne adds the results of the oldest batch that has not been read.
func (e *evaluator) readOne() error {
	slot, memory, err := e.results.wait()
	if err != nil {
		return err
	}
	floats := func(name string) []float32 {
		s := e.program.Result(name)
		return driver.View[float32](memory.Slice(int(s.Offset), int(s.Offset+s.Bytes)))
	}
	for i := range e.sums {
		losses, correct := floats(lower.LossesName(i)), floats(lower.CorrectName(i))
		for k := range e.sizes[slot] {
			e.sums[i].Loss += float64(losses[k])
			e.sums[i].Correct += float64(correct[k])
		}
	}
	return nil
}

// Sums implements backend.Evaluator.
func (e *evaluator) Sums() ([]backend.Sum, error) {
	err := e.gpu.Do(func(*driver.Context) error {
		for !e.results.empty() {
			if err := e.readOne(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.gpu.name(), err)
	}
	sums := append([]backend.Sum{}, e.sums...)
	clear(e.sums)
	return sums, nil
}

// Close implements backend.Evaluator.
func (e *evaluator) Close() error {
	return e.gpu.Do(func(c *driver.Context) error {
		_ = c.Synchronize() // an earlier call returned its error
		if e.feeder != nil {
			e.feeder.close()
		}
		if e.executor != nil {
			e.executor.close()
		}
		e.results.close()
		e.store.free(c)
		return nil
	})
}

// NewEvaluator implements backend.Trainer.
func (t *trainer) NewEvaluator(networks []models.Network, batch int) (backend.Evaluator, error) {
	e, err := t.gpu.newEvaluator(networks, batch, t.prepared.params, &t.store, t.job.Pixels)
	if err != nil {
		return nil, err
	}
	e.begin = func() error {
		if err := t.wait(); err != nil || !t.hasEMA() {
			return err
		}
		err := t.gpu.Do(func(*driver.Context) error {
			return t.gpu.cast(&t.store, t.prepared.params.Trained, lower.EMACopies, lower.EMA)
		})
		if err != nil {
			return t.fail(err)
		}
		return nil
	}
	return e, nil
}

// newFixedEvaluator makes an evaluator with its own copy of the parameters.
func (g *gpu) newFixedEvaluator(networks []models.Network, batch int, w backend.Weights, pixels *backend.Pixels) (backend.Evaluator, error) {
	graph, err := models.BuildEvaluation(context.Background(), networks, models.BuildOptions{Batch: 1})
	if err != nil {
		return nil, err
	}
	params, err := lower.NewParams(nil, lower.Frozen(nil, graph))
	if err != nil {
		return nil, err
	}
	var weights store
	free := func() { _ = g.Do(func(c *driver.Context) error { weights.free(c); return nil }) }
	err = g.Do(func(c *driver.Context) (err error) {
		if weights.regions[lower.Master], err = weights.alloc(c, g.queue, 4*int64(params.Elements)); err != nil {
			return err
		}
		if g.dtype == kernels.BF16 {
			if weights.regions[lower.Copies], err = weights.alloc(c, g.queue, 2*int64(params.Elements)); err != nil {
				return err
			}
		}
		return g.upload(&weights, params, w)
	})
	if err != nil {
		free()
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	e, err := g.newEvaluator(networks, batch, params, &weights, pixels)
	if err != nil {
		free()
		return nil, err
	}
	e.store.device = append(e.store.device, weights.device...)
	return e, nil
}
