package host

import (
	"context"
	"fmt"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/engine/random"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// trainer makes optimizer steps for all learners of a job with one graph and one
// executor.
type trainer struct {
	job      *backend.Job
	pool     *cpu.Pool
	executor *cpu.Executor[float32]
	arena    int64 // bytes of its activations
	learners []*learner
	micro    int // images in a pass
	masks    []mask
	images   []float32
	targets  []float32
	losses   []float64 // of the steps since the last call of Losses; for each step, one per learner

	stream random.Stream
}

// mask is the storage of one drop-path input.
type mask struct {
	backend.DropPath
	scale []float32
}

// lossRoom is the number of steps whose losses are kept without allocating.
const lossRoom = 1024

// NewTrainer implements backend.Backend. The trainer updates the slices in the job's
// Weights.
func (h *Host) NewTrainer(j *backend.Job) (backend.Trainer, error) {
	t := &trainer{job: j, pool: h.pool, micro: passImages(j), losses: make([]float64, 0, lossRoom*len(j.Learners))}
	g, plan, grads, err := build(context.Background(), j)
	if err != nil {
		return nil, err
	}
	if t.executor, err = cpu.Compile[float32](plan, h.pool, j.Weights); err != nil {
		return nil, err
	}
	t.arena = arenaBytes(plan)
	t.images, t.targets = t.executor.Data(g.Images), t.executor.Data(g.Targets)
	for _, d := range g.DropPaths {
		if scale := t.executor.Data(d.Node); scale != nil {
			t.masks = append(t.masks, mask{backend.NewDropPath(d, j), scale})
		}
	}
	for i := range j.Learners {
		l, err := newLearner(&j.Learners[i], j, func(p models.NetParam) []float32 { return t.executor.Data(grads[p.Leaf()]) }, t.passes(), h.pool)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", j.Learners[i].Stage, err)
		}
		l.loss = t.executor.Data(g.Outputs[i].Loss)
		t.learners = append(t.learners, l)
	}
	return t, nil
}

// passes returns the number of forward and backward passes in a step.
func (t *trainer) passes() int { return t.job.Recipe.Batch / t.micro }

// Step implements backend.Trainer.
func (t *trainer) Step(b *datasets.Batch, lr float64) error {
	for _, l := range t.learners {
		l.stepLoss = 0
	}
	imageSize, classes := len(t.images)/t.micro, len(t.targets)/t.micro
	for pass := range t.passes() {
		first := pass * t.micro
		copy(t.images, b.Images[first*imageSize:])
		copy(t.targets, b.Targets[first*classes:])
		for i := range t.masks {
			m := &t.masks[i]
			m.Draw(m.scale, &t.stream, b.Epoch, b.Step*t.job.Recipe.Batch+first)
		}
		t.executor.Run()
		for _, l := range t.learners {
			loss := float64(l.loss[0])
			if !backend.Finite(loss) {
				return &backend.Diverged{Stage: l.Stage, What: "loss", Value: loss, Epoch: b.Epoch, Step: b.Step, LR: lr}
			}
			l.stepLoss += loss / float64(t.passes())
			l.accumulate(pass, t.passes())
		}
	}
	for _, l := range t.learners {
		norm := l.optimizer.Step(lr, t.job.Recipe.ClipGrad)
		if !backend.Finite(norm) {
			return &backend.Diverged{Stage: l.Stage, What: "gradient norm", Value: norm, Epoch: b.Epoch, Step: b.Step, LR: lr}
		}
		if l.ema != nil {
			l.ema.Update()
		}
	}
	for _, l := range t.learners {
		t.losses = append(t.losses, l.stepLoss)
	}
	return nil
}

// Losses implements backend.Trainer.
func (t *trainer) Losses(sums []float64) error {
	for i, loss := range t.losses {
		sums[i%len(t.learners)] += loss
	}
	t.losses = t.losses[:0]
	return nil
}

// Tensors implements backend.Trainer.
func (t *trainer) Tensors(learner int) ([]safetensors.Tensor, error) {
	return t.learners[learner].tensors(), nil
}

// Restore implements backend.Trainer.
func (t *trainer) Restore(learner int, lookup func(string) (safetensors.Tensor, bool)) error {
	return t.learners[learner].restore(lookup)
}

// NewEvaluator implements backend.Trainer. Training and evaluation alternate, so they
// share the memory for activations.
func (t *trainer) NewEvaluator(networks []models.Network, maxBatch int) (backend.Evaluator, error) {
	return newEvaluator(networks, maxBatch, t.arena, func(plan *graph.Plan) (*cpu.Executor[float32], error) {
		return t.executor.CompileShared(plan, t.job.Weights)
	})
}

// Remarks implements backend.Trainer.
func (t *trainer) Remarks() []string { return nil }

// Device implements backend.Trainer. All CPUs give the same bits.
func (t *trainer) Device(int) backend.Device { return backend.Device{Name: "cpu"} }

// Close implements backend.Trainer.
func (t *trainer) Close() error { return nil }
