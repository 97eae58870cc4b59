package pipeline

import (
	"hatchery/engine/backend"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/models"
)

// weights holds the parameters of a stage's networks. Of the backends, the
// processor's trains these very slices.
type weights backend.Weights

// initialise adds the first values of parameters that are not there yet.
func (w weights) initialise(params []models.NetParam, seed uint64) {
	for _, p := range params {
		if w[p.Leaf()] == nil {
			w[p.Leaf()] = models.Initialize(p.Param, seed, p.Owner)
		}
	}
}

// load takes over the parameters of a checkpoint.
func (w weights) load(c *runs.Checkpoint, owner models.Owner) {
	for _, t := range c.Tensors {
		if !optim.IsState(t.Name) {
			w[string(owner)+"/"+t.Name] = t.Data
		}
	}
}
