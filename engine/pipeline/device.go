package pipeline

import (
	"fmt"
	"slices"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda"
	"hatchery/models"
	"hatchery/presets"
)

// Diverged is the error of training that went to NaN or infinity.
type Diverged = backend.Diverged

// device is what an experiment computes on: what run.device asks for, "auto"
// decided.
func device(c *presets.Config) (presets.Device, error) {
	d, err := presets.ParseDevice(c.Run.Device)
	if err != nil {
		return d, fmt.Errorf("run.device = %q: %w", c.Run.Device, err)
	}
	if d.Kind == "auto" {
		d.Kind = "cpu"
		if n, _ := cuda.Count(); n > 0 {
			d = presets.Device{Kind: "cuda", GPUs: []int{0}}
		}
	}
	return d, nil
}

// openBackend opens what an experiment computes on.
func openBackend(c *presets.Config) (backend.Backend, error) {
	d, err := device(c)
	if err != nil {
		return nil, err
	}
	if d.Kind == "cpu" {
		return host.Open(c.Run.Threads), nil
	}
	b, err := cuda.Open(d.GPUs)
	if err != nil {
		return nil, fmt.Errorf("run.device = %q: %w", c.Run.Device, err)
	}
	return b, nil
}

// checkDevice says what is wrong with the devices that an experiment asks for.
func checkDevice(c *presets.Config) error {
	d, err := device(c)
	if err != nil || d.Kind == "cpu" {
		return err
	}
	n, err := cuda.Count()
	if last := slices.Max(d.GPUs); err == nil && last >= n {
		err = fmt.Errorf("there is no GPU %d: this machine has %d, counted from 0", last, n)
	}
	if err != nil {
		return fmt.Errorf("run.device = %q: %w", c.Run.Device, err)
	}
	return nil
}

// newTrainer prepares the training of stages of one kind together. Parameters
// that are not in w yet are initialised.
func newTrainer(b backend.Backend, stages []*trainStage, w weights, seed uint64, p *backend.Pixels) (backend.Trainer, error) {
	for _, s := range stages {
		w.initialise(s.network.Params(), seed)
	}
	j := job(stages, w, seed)
	j.Pixels = p
	return b.NewTrainer(j)
}

// pixels says what a backend that wants raw batches makes of a set's; nil if it
// does not want them. Only training smooths and erases.
func pixels(b backend.Backend, set *datasets.Set, a presets.Augment) *backend.Pixels {
	if !b.Info().Raw {
		return nil
	}
	return &backend.Pixels{Mean: set.Mean, Std: set.Std, Smoothing: a.Smoothing, Erase: a.Reprob > 0}
}

// job is the training of stages of one kind together.
func job(stages []*trainStage, w weights, seed uint64) *backend.Job {
	j := &backend.Job{Recipe: stages[0].recipe, Weights: backend.Weights(w), Seed: seed, Purpose: stages[0].phase}
	for _, s := range stages {
		j.Learners = append(j.Learners, backend.Learner{Stage: s.Name, Network: s.network, DecayTokens: s.decayTokens})
	}
	j.Build = func(learners []int, o models.BuildOptions) (*models.Graph, error) {
		part := make([]*trainStage, len(learners))
		for i, l := range learners {
			part[i] = stages[l]
		}
		o.DropPath, o.Uniform = j.Recipe.DropPath, j.Recipe.DropPathMode == "uniform"
		return buildTraining(part, o)
	}
	return j
}
