package pipeline

import (
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/models"
	"hatchery/presets"
)

// Diverged is the error of training that went to NaN or infinity.
type Diverged = backend.Diverged

// openBackend opens what an experiment computes on.
func openBackend(c *presets.Config) (backend.Backend, error) {
	return host.Open(c.Run.Threads), nil
}

// newTrainer prepares the training of stages of one kind together. Parameters
// that are not in w yet are initialised.
func newTrainer(b backend.Backend, stages []*trainStage, w weights, seed uint64) (backend.Trainer, error) {
	for _, s := range stages {
		w.initialise(s.network.Params(), seed)
	}
	return b.NewTrainer(job(stages, w, seed))
}

// job is the training of stages of one kind together.
func job(stages []*trainStage, w weights, seed uint64) *backend.Job {
	j := &backend.Job{Recipe: stages[0].recipe, Weights: backend.Weights(w), Seed: seed, Purpose: stages[0].phase}
	for _, s := range stages {
		j.Learners = append(j.Learners, backend.Learner{Stage: s.Name, Network: s.network})
	}
	j.Build = func(learners []int, o models.BuildOptions) (*models.Graph, error) {
		part := make([]*trainStage, len(learners))
		for i, l := range learners {
			part[i] = stages[l]
		}
		return buildTraining(part, o)
	}
	return j
}
