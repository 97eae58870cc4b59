package pipeline

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// Diverged is the error of training in which a value became NaN or infinite.
type Diverged = backend.Diverged

// device returns the device that run.device selects. It resolves "auto".
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

// threads returns the number of CPU threads of an experiment.
func threads(c *presets.Config) int {
	if c.Run.Threads > 0 {
		return c.Run.Threads
	}
	return runtime.GOMAXPROCS(0)
}

// openBackend opens the backend for the device of an experiment.
func openBackend(c *presets.Config) (backend.Backend, error) {
	d, err := device(c)
	if err != nil {
		return nil, err
	}
	if d.Kind == "cpu" {
		return host.Open(threads(c)), nil
	}
	b, err := cuda.Open(d.GPUs)
	if err != nil {
		return nil, fmt.Errorf("run.device = %q: %w", c.Run.Device, err)
	}
	return b, nil
}

// checkDevice returns an error if this machine lacks a device that an experiment needs.
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

// newTrainer returns a trainer that trains stages together. It initialises parameters that
// are not in w yet. t, which may be nil, stores which kernels the backend chooses by timing.
func newTrainer(b backend.Backend, stages []*trainStage, w weights, seed uint64, p *backend.Pixels, t backend.Tunings) (backend.Trainer, error) {
	for _, s := range stages {
		w.initialise(s.network.Params(), seed)
	}
	j := job(stages, w, seed)
	j.Pixels, j.Tunings = p, t
	return b.NewTrainer(j)
}

// tunings stores, in the stage folders, which kernels a backend chose by timing.
type tunings struct {
	run    *runs.Run
	own    []string // the stages that are trained together
	others []string // other stages of the experiment
}

// tunings returns the store for stages that are trained together.
func (r *runner) tunings(stages []*trainStage) *tunings {
	t := &tunings{run: r.run}
	for _, s := range stages {
		t.own = append(t.own, s.Name)
	}
	for _, s := range method.Stages(r.config) {
		if s.Trains() && !slices.Contains(t.own, s.Name) {
			t.others = append(t.others, s.Name)
		}
	}
	return t
}

// Load implements backend.Tunings.
func (t *tunings) Load() (own backend.Tuning, others []backend.Tuning, err error) {
	read := func(stages []string) (all []backend.Tuning, err error) {
		for _, s := range stages {
			data, err := runs.ReadTuning(t.run.Dir(), s)
			if err != nil {
				return nil, err
			}
			if data != nil {
				all = append(all, backend.Tuning{Path: runs.TuningPath(t.run.Dir(), s), Data: data})
			}
		}
		return all, nil
	}
	stored, err := read(t.own)
	if err != nil {
		return own, nil, err
	}
	if len(stored) > 0 { // stages that were trained together have the same tuning
		own = stored[0]
	}
	others, err = read(t.others)
	return own, others, err
}

// Save implements backend.Tunings.
func (t *tunings) Save(data []byte) error {
	for _, s := range t.own {
		if err := t.run.SaveTuning(s, data); err != nil {
			return err
		}
	}
	return nil
}

// pixels returns the parameters with which a backend that takes raw batches computes images
// and targets. It returns nil for other backends. a is the zero value for evaluation.
func pixels(b backend.Backend, set *datasets.Set, a datasets.Augment) *backend.Pixels {
	if !b.Info().Raw {
		return nil
	}
	return &backend.Pixels{Mean: set.Mean, Std: set.Std, Smoothing: a.Smoothing, Erase: a.Reprob > 0, MixBatch: a.MixBatch}
}

// job returns the backend's job for training stages together.
func job(stages []*trainStage, w weights, seed uint64) *backend.Job {
	j := &backend.Job{Recipe: stages[0].recipe, Weights: backend.Weights(w), Seed: seed, Purpose: stages[0].Phase}
	for _, s := range stages {
		j.Learners = append(j.Learners, backend.Learner{Stage: s.Name, Network: s.network, DecayTokens: s.DecayTokens})
	}
	j.Build = func(ctx context.Context, learners []int, o models.BuildOptions) (*models.Graph, error) {
		part := make([]*trainStage, len(learners))
		for i, l := range learners {
			part[i] = stages[l]
		}
		o.DropPath, o.Uniform = j.Recipe.DropPath, j.Recipe.DropPathMode == "uniform"
		return buildTraining(ctx, part, o)
	}
	return j
}
