//go:build gpu

package cuda

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// Built reports whether this binary has GPU support.
const Built = true

// Count returns the number of usable GPUs, or 0 and the reason.
func Count() (int, error) {
	all, err := driver.Devices()
	if err != nil {
		return 0, err
	}
	for i, info := range all {
		if err := info.Supported(); err != nil && i == 0 {
			return 0, err
		}
	}
	if len(all) == 0 {
		return 0, errors.New("the NVIDIA driver sees no card")
	}
	return len(all), nil
}

// Names returns the name in Info of a backend of these GPUs, without opening them.
func Names(ordinals []int) (string, error) {
	all, err := driver.Devices()
	if err != nil {
		return "", err
	}
	var names []string
	for _, n := range ordinals {
		if n >= len(all) {
			return "", fmt.Errorf("GPU %d does not exist", n)
		}
		names = append(names, title(all[n]))
	}
	return strings.Join(names, ", "), nil
}

// capacity returns the memory of a GPU in bytes, or 0 if it is unknown.
func capacity(ordinal int) int64 {
	all, err := driver.Devices()
	if err != nil || ordinal >= len(all) {
		return 0
	}
	return all[ordinal].Memory
}

// gpus is the backend: one or more devices.
type gpus []*gpu

// Open opens the GPUs with the given ordinals as one backend. It distributes the learners
// of a job over them. Evaluation uses the first.
func Open(ordinals []int) (backend.Backend, error) { return open(ordinals, kernels.BF16) }

// OpenFloat32 is like Open, but stores and multiplies everything in float32. It is slow and
// meant for checking.
func OpenFloat32(ordinals []int) (backend.Backend, error) { return open(ordinals, kernels.F32) }

func open(ordinals []int, t kernels.DType) (backend.Backend, error) {
	var all gpus
	for _, n := range ordinals {
		g, err := openGPU(n, t)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, g)
	}
	return all, nil
}

// Close implements backend.Backend.
func (all gpus) Close() error {
	for _, g := range all {
		g.close()
	}
	return nil
}

// Info implements backend.Backend.
func (all gpus) Info() backend.Info {
	var names []string
	for _, g := range all {
		names = append(names, g.name())
	}
	return backend.Info{Kind: "cuda", Name: strings.Join(names, ", "), EvalBatch: evalBatch, Raw: true}
}

// NewEvaluator implements backend.Backend.
func (all gpus) NewEvaluator(networks []models.Network, batch int, w backend.Weights, pixels *backend.Pixels) (backend.Evaluator, error) {
	return all[0].newFixedEvaluator(networks, batch, w, pixels)
}

// NewTrainer implements backend.Backend.
func (all gpus) NewTrainer(j *backend.Job) (backend.Trainer, error) {
	parts := spread(len(j.Learners), len(all))
	if len(parts) == 1 {
		return all[0].newTrainer(j, parts[0])
	}
	s := &spreadTrainer{parts: parts}
	for i, learners := range parts {
		t, err := all[i].newTrainer(j, learners)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.trainers = append(s.trainers, t)
		var names []string
		for k, l := range learners {
			s.locations = append(s.locations, location{i, k})
			names = append(names, j.Learners[l].Stage)
		}
		s.remarks = append(s.remarks, fmt.Sprintf("%s trains %s", all[i].name(), strings.Join(names, ", ")))
	}
	return s, nil
}

// spreadTrainer trains the learners of a job on several devices, which all get the same
// batches.
type spreadTrainer struct {
	parts     [][]int
	trainers  []*trainer
	locations []location // of each learner
	remarks   []string
}

// location is the trainer of a learner and the learner's index there.
type location struct{ trainer, learner int }

// Step implements backend.Trainer.
func (s *spreadTrainer) Step(b *datasets.Batch, lr float64) error {
	for _, t := range s.trainers {
		if err := t.Step(b, lr); err != nil {
			return err
		}
	}
	return nil
}

// Losses implements backend.Trainer.
func (s *spreadTrainer) Losses(sums []float64) error {
	for i, t := range s.trainers {
		// The learners of a part are consecutive.
		part := s.parts[i]
		if err := t.Losses(sums[part[0]:][:len(part)]); err != nil {
			return err
		}
	}
	return nil
}

// Tensors implements backend.Trainer.
func (s *spreadTrainer) Tensors(learner int) ([]safetensors.Tensor, error) {
	l := s.locations[learner]
	return s.trainers[l.trainer].Tensors(l.learner)
}

// Restore implements backend.Trainer.
func (s *spreadTrainer) Restore(learner int, lookup func(string) (safetensors.Tensor, bool)) error {
	l := s.locations[learner]
	return s.trainers[l.trainer].Restore(l.learner, lookup)
}

// Remarks implements backend.Trainer.
func (s *spreadTrainer) Remarks() []string {
	all := slices.Clone(s.remarks)
	for _, t := range s.trainers {
		all = append(all, t.Remarks()...)
	}
	return all
}

// Device implements backend.Trainer.
func (s *spreadTrainer) Device(learner int) backend.Device {
	l := s.locations[learner]
	return s.trainers[l.trainer].Device(l.learner)
}

// Meters implements backend.Meter.
func (s *spreadTrainer) Meters(learner int, speed float64) map[string]float64 {
	l := s.locations[learner]
	return s.trainers[l.trainer].Meters(l.learner, speed)
}

// NewEvaluator implements backend.Trainer.
func (s *spreadTrainer) NewEvaluator(networks []models.Network, batch int) (backend.Evaluator, error) {
	per := len(networks) / len(s.locations) // two if moving averages are evaluated as well, else one
	if per*len(s.locations) != len(networks) {
		return nil, fmt.Errorf("cuda: %d networks to evaluate for %d learners", len(networks), len(s.locations))
	}
	all := &spreadEvaluator{}
	for i, t := range s.trainers {
		part := s.parts[i]
		e, err := t.NewEvaluator(networks[per*part[0]:][:per*len(part)], batch)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all.evaluators = append(all.evaluators, e)
	}
	return all, nil
}

// Close implements backend.Trainer.
func (s *spreadTrainer) Close() error {
	var errs []error
	for _, t := range s.trainers {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// spreadEvaluator evaluates networks on several devices.
type spreadEvaluator struct{ evaluators []backend.Evaluator }

// Batch implements backend.Evaluator.
func (s *spreadEvaluator) Batch() int { return s.evaluators[0].Batch() }

// Grade implements backend.Evaluator.
func (s *spreadEvaluator) Grade(b *datasets.Batch) error {
	for _, e := range s.evaluators {
		if err := e.Grade(b); err != nil {
			return err
		}
	}
	return nil
}

// Sums implements backend.Evaluator.
func (s *spreadEvaluator) Sums() ([]backend.Sum, error) {
	var all []backend.Sum
	for _, e := range s.evaluators {
		sums, err := e.Sums()
		if err != nil {
			return nil, err
		}
		all = append(all, sums...)
	}
	return all, nil
}

// Close implements backend.Evaluator.
func (s *spreadEvaluator) Close() error {
	var errs []error
	for _, e := range s.evaluators {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}
