package pipeline

import (
	"hatchery/engine/backend"
	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// weights holds the parameters of a stage's networks. The CPU backend trains these slices in
// place.
type weights backend.Weights

// initialise adds initial values for missing parameters.
func (w weights) initialise(params []models.NetParam, seed uint64) {
	for _, p := range params {
		if w[p.Leaf()] == nil {
			w[p.Leaf()] = models.Initialize(p.Param, seed, p.Owner)
		}
	}
}

// load adds the parameters of a checkpoint, or their averages if these are the result of its
// stage.
func (w weights) load(c *runs.Checkpoint, owner models.Owner) {
	averages := c.Metadata[metaWeights] == averageWeights
	for _, t := range c.Tensors {
		name := t.Name
		if optim.IsState(name) {
			average, ok := optim.EMAOf(name)
			if !ok || !averages {
				continue
			}
			name = average
		} else if _, ok := c.Tensor(optim.EMAName(name)); ok && averages {
			continue
		}
		w[string(owner)+"/"+name] = t.Data
	}
}

// ownerOf returns the owner of the parameters that a stage of the experiment produces.
func ownerOf(c *presets.Config, stage string) models.Owner {
	s, _ := method.Find(c, stage)
	return s.Owner
}

// resize interpolates the position embedding of the target model to the image size of v.
func (w weights) resize(v models.ViT) error {
	p := models.NetParam{Param: models.Param{Name: "pos_embed"}, Part: models.Part{Owner: models.Target}}
	data, err := v.ResizePosEmbed(w[p.Leaf()])
	w[p.Leaf()] = data
	return err
}
