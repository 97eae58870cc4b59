// Package pipeline runs an experiment: Algorithm 1 of the paper and the methods
// it is compared with, as stages.
//
// A stage is the unit of everything: of progress, of checkpoints and resuming,
// of where it runs. It reads the configuration, the data set and the final
// checkpoints of the stages it needs, and nothing else, so that stages can run
// one after another, together, or on different machines, with the same result.
// On GPUs that holds up to rounding: a stage also reads what it or another stage
// chose by timing (backend.Tunings), and where kernels were timed apart, on two
// machines at once, their choices may differ.
package pipeline

import (
	"context"
	"fmt"

	"hatchery/models"
	"hatchery/presets"
)

// Kind is what a stage does.
type Kind string

const (
	Meta     Kind = "meta"     // pre-train the meta model (Algorithm 1, line 2)
	Incubate Kind = "incubate" // train a target module inside the frozen meta model (line 5)
	Imitate  Kind = "imitate"  // train a target module to imitate its meta module (section 3)
	Assemble Kind = "assemble" // put the trained modules together (line 7)
	Finetune Kind = "finetune" // fine-tune the assembled model (line 8)
	E2E      Kind = "e2e"      // train the target model end to end
	HighRes  Kind = "highres"  // fine-tune what one of the last two left at a larger image size
)

// Methods that an experiment can run (presets.Run.Methods).
const (
	Assembling = "assembling"
	Imitation  = "imitation"
	EndToEnd   = "e2e"
)

// Stage is one stage of an experiment.
type Stage struct {
	Name   string   // unique in the experiment and a folder's name: "module-2"
	Kind   Kind     //
	Method string   // the first method that needs it
	Module int      // of Incubate and Imitate, counted from 1; else 0
	Needs  []string // names of the stages whose final checkpoints it reads
	After  []string // names of the stages whose cost decides how long it trains
}

// Stages lists the stages of an experiment, each after the ones it needs.
func Stages(c *presets.Config) []Stage {
	var stages []Stage
	// highRes follows the last stage of a method.
	highRes := func(method, after string) {
		if c.HighRes.Image > 0 {
			stages = append(stages, Stage{Name: fmt.Sprintf("%s-%d", after, c.HighRes.Image), Kind: HighRes, Method: method, Needs: []string{after}})
		}
	}
	meta := func(method string) {
		for _, s := range stages {
			if s.Name == "meta" {
				return
			}
		}
		stages = append(stages, Stage{Name: "meta", Kind: Meta, Method: method})
	}
	modular := func(method string, kind Kind, module, assemble, finetune string) {
		meta(method)
		var modules []string
		for i := 1; i <= c.Modules.K; i++ {
			name := fmt.Sprintf("%s-%d", module, i)
			modules = append(modules, name)
			stages = append(stages, Stage{Name: name, Kind: kind, Method: method, Module: i, Needs: []string{"meta"}})
		}
		stages = append(stages,
			Stage{Name: assemble, Kind: Assemble, Method: method, Needs: modules},
			Stage{Name: finetune, Kind: Finetune, Method: method, Needs: []string{assemble}})
		highRes(method, finetune)
	}
	for _, method := range c.Run.Methods {
		switch method {
		case Assembling:
			modular(method, Incubate, "module", "assemble", "finetune")
		case Imitation:
			modular(method, Imitate, "imitation", "assemble-imitation", "finetune-imitation")
		case EndToEnd:
			e2e := Stage{Name: "e2e", Kind: E2E, Method: method}
			if first := c.Run.Methods[0]; atCost(c) {
				for _, s := range ofMethod(first, stages) {
					if s.Kind != HighRes {
						e2e.After = append(e2e.After, s.Name)
					}
				}
			}
			stages = append(stages, e2e)
			highRes(method, "e2e")
		}
	}
	return stages
}

// recipe is the training recipe of a stage's kind; nil for one that does not
// train.
func recipe(c *presets.Config, k Kind) *presets.Stage {
	switch k {
	case Meta:
		return &c.Meta
	case Incubate, Imitate:
		return &c.Modular
	case Finetune:
		return &c.Finetune
	case E2E:
		return &c.E2E
	case HighRes:
		return &c.HighRes.Stage
	}
	return nil
}

// trainStage is a stage that trains, with what it trains.
type trainStage struct {
	Stage
	phase    string // names the random numbers: stages of a kind see the same batches
	recipe   presets.Stage
	division models.Division
	network  models.Network // what is trained and evaluated; for an imitating module, its hybrid

	decayTokens bool // see backend.Learner
}

func newTrainStage(c *presets.Config, d models.Division, s Stage) *trainStage {
	t := &trainStage{Stage: s, phase: string(s.Kind), recipe: *recipe(c, s.Kind), division: d}
	switch s.Kind {
	case Meta:
		t.network = d.MetaNet()
	case Incubate, Imitate:
		t.network = d.Hybrid(s.Module)
		t.phase = "modular"
		t.decayTokens = s.Module == 1 && c.Compat == "official"
	case HighRes:
		d.Target = c.Final()
		t.division, t.network = d, d.TargetNet()
	default:
		t.network = d.TargetNet()
	}
	return t
}

// buildTraining builds the graph that trains stages of one kind together.
func buildTraining(ctx context.Context, stages []*trainStage, o models.BuildOptions) (*models.Graph, error) {
	if stages[0].Kind == Imitate {
		var modules []int
		for _, s := range stages {
			modules = append(modules, s.Module)
		}
		return models.BuildImitation(ctx, stages[0].division, modules, o)
	}
	var networks []models.Network
	for _, s := range stages {
		networks = append(networks, s.network)
	}
	return models.BuildTraining(ctx, networks, o)
}

// division is how the experiment divides its target model.
func division(c *presets.Config) (models.Division, error) {
	return models.NewDivision(c.Model, c.Modules.K, c.Modules.Split, c.Modules.MetaDepth)
}

// groups puts stages that run over the same batches together: with
// Run.Together, or on several devices, the modules of a method, otherwise none.
func groups(c *presets.Config, stages []Stage) [][]Stage {
	together := c.Run.Together
	if d, err := presets.ParseDevice(c.Run.Device); err == nil && len(d.GPUs) > 1 {
		together = true
	}
	var groups [][]Stage
	for _, s := range stages {
		if n := len(groups); n > 0 && together && s.Module > 1 && groups[n-1][0].Kind == s.Kind {
			groups[n-1] = append(groups[n-1], s)
			continue
		}
		groups = append(groups, []Stage{s})
	}
	return groups
}
