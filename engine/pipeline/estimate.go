package pipeline

import (
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/models"
	"hatchery/presets"
)

// Estimate is what a stage will take, known before it starts.
type Estimate struct {
	Stage
	Together int         // stages that run in this one's graph, itself included
	Network  models.Cost // of the trained or assembled network; of stages together, their sum
	Epochs   int
	Steps    int // of the optimizer, in all epochs
	Samples  int // images that pass forward and backward, in all epochs
	Peak     backend.Memory
}

// Memory is the planned peak of a stage, bytes.
func (e Estimate) Memory() int64 { return e.Peak.Total() }

// MACs is the multiply-accumulates of all training steps.
func (e Estimate) MACs() int64 { return e.Network.Step * int64(e.Samples) }

// Plan estimates every stage of an experiment on a training set of that many
// images. Stages that run together (presets.Run.Together) share a plan and are
// one entry, under the name of the first.
func Plan(c *presets.Config, images int) ([]Estimate, error) {
	d, err := division(c)
	if err != nil {
		return nil, err
	}
	var estimates []Estimate
	for _, group := range groups(c, Stages(c)) {
		s := group[0]
		if s.Kind == Assemble {
			estimates = append(estimates, Estimate{Stage: s, Together: 1, Network: d.TargetNet().Cost()})
			continue
		}
		var stages []*trainStage
		for _, s := range group {
			stages = append(stages, newTrainStage(c, d, s))
		}
		e, err := estimate(stages, images)
		if err != nil {
			return nil, err
		}
		estimates = append(estimates, e)
	}
	return estimates, nil
}

func estimate(stages []*trainStage, images int) (Estimate, error) {
	r := stages[0].recipe
	e := Estimate{Stage: stages[0].Stage, Together: len(stages), Epochs: r.Epochs}
	perEpoch := images / r.Batch
	e.Steps = perEpoch * r.Epochs
	e.Samples = e.Steps * r.Batch
	var err error
	if e.Peak, err = host.Plan(job(stages, nil, 0)); err != nil {
		return e, err
	}
	seen := map[string]bool{}
	for _, s := range stages {
		cost := s.network.Cost()
		e.Network.Forward += cost.Forward
		e.Network.Step += cost.Step
		for _, p := range s.network.Params() {
			if seen[p.Leaf()] {
				continue
			}
			seen[p.Leaf()] = true
			e.Network.Params += int64(p.Size())
			if !p.Frozen {
				e.Network.Trainable += int64(p.Size())
			}
		}
	}
	return e, nil
}
