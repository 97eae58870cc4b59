package pipeline

import (
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda"
	"hatchery/models"
	"hatchery/presets"
)

// Estimate is what a stage will take, known before it starts.
type Estimate struct {
	Stage
	Together int         // stages that run in this one's graph, itself included
	Network  models.Cost // of the trained or assembled network; of stages together, their sum
	Epochs   int
	Steps    int            // of the optimizer, in all epochs
	Samples  int            // images that pass forward and backward, in all epochs
	Peak     backend.Memory // of the device that computes, the fullest of several
	Device   string         // its kind: "cpu", "cuda"
	Remark   string         // how the stage will be carried out, where that is not the plain way
	Where    string         // which of several GPUs trains which of the stages; empty: there is no choice
}

// Memory is the planned peak of a stage, bytes.
func (e Estimate) Memory() int64 { return e.Peak.Total() }

// MACs is the multiply-accumulates of all training steps. Large models take
// more than an int64 holds.
func (e Estimate) MACs() float64 { return float64(e.Network.Step) * float64(e.Samples) }

// MethodMACs is the multiply-accumulates of all training steps of a method.
func MethodMACs(method string, estimates []Estimate) (sum float64) {
	for _, e := range estimates {
		if e.partOf(method) {
			sum += e.MACs()
		}
	}
	return sum
}

// Plan estimates every stage of an experiment on a training set of that many
// images. Stages that run together (presets.Run.Together) share a plan and are
// one entry, under the name of the first.
func Plan(c *presets.Config, images int) ([]Estimate, error) {
	d, err := division(c)
	if err != nil {
		return nil, err
	}
	on, err := device(c)
	if err != nil {
		return nil, err
	}
	all := groups(c, Stages(c))
	estimates := make([]Estimate, len(all))
	var work errgroup.Group // building the graphs of deep networks takes seconds
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, group := range all {
		s := group[0]
		if s.Kind == Assemble {
			estimates[i] = Estimate{Stage: s, Together: 1, Network: d.TargetNet().Cost()}
			continue
		}
		work.Go(func() (err error) {
			var stages []*trainStage
			for _, s := range group {
				stages = append(stages, newTrainStage(c, d, s))
			}
			estimates[i], err = estimate(stages, images, on)
			return err
		})
	}
	return estimates, work.Wait()
}

func estimate(stages []*trainStage, images int, on presets.Device) (Estimate, error) {
	r := stages[0].recipe
	e := Estimate{Stage: stages[0].Stage, Together: len(stages), Epochs: r.Epochs, Device: on.Kind}
	perEpoch := images / r.Batch
	e.Steps = perEpoch * r.Epochs
	e.Samples = e.Steps * r.Batch
	var err error
	if on.Kind == "cpu" {
		e.Peak, err = host.Plan(job(stages, nil, 0))
	} else {
		j := job(stages, nil, 0)
		e.Where = cuda.Placement(j, on.GPUs)
		e.Peak, e.Remark, err = cuda.Plan(j, on.GPUs)
	}
	if err != nil {
		return e, fmt.Errorf("%s: %w", e.Name, err)
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
