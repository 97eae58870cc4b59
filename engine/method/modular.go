package method

import (
	"context"
	"fmt"

	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// modular is the common part of methods that train the target model module by module: a
// meta model is pre-trained, each module is trained in relation to it, and the modules are
// assembled and fine-tuned.
type modular struct {
	kind     string // StageInfo.Kind of the stages that train a module
	group    string // these stages are called group-1, group-2, ...
	assemble string // name of the stage that assembles the modules
	finetune string // name of the stage that fine-tunes the assembled model
	work     work   // the work of the stages that train a module
}

func (m modular) stages(c *presets.Config) []Stage {
	meta := metaStage(c)
	stages := []Stage{meta}
	var modules []string
	for i := 1; i <= c.Modules.K; i++ {
		s := Stage{
			Name:        fmt.Sprintf("%s-%d", m.group, i),
			StageInfo:   runs.StageInfo{Kind: m.kind, Module: i, Group: m.group, Inside: meta.Name, Recipe: "modular"},
			Needs:       []string{meta.Name},
			Phase:       "modular",
			Owner:       models.Target,
			Image:       c.Model.Image,
			DecayTokens: i == 1 && c.Compat == "official",
			work:        m.work,
		}
		modules = append(modules, s.Name)
		stages = append(stages, s)
	}
	return append(append(stages,
		Stage{
			Name: m.assemble, StageInfo: runs.StageInfo{Kind: "assemble", Target: true}, Needs: modules,
			Owner: models.Target, Image: c.Model.Image, work: target{},
			// Without training, neither random numbers nor training images matter.
			Effects: map[string]presets.Effect{"seed": presets.EffectNone, "compat": presets.EffectNone, "augment": presets.EffectNone,
				"data.train": presets.EffectNone, "data.fraction": presets.EffectNone},
		},
		Stage{
			Name: m.finetune, StageInfo: runs.StageInfo{Kind: "finetune", Target: true, Recipe: "finetune"}, Needs: []string{m.assemble},
			Phase: "finetune", Owner: models.Target, Image: c.Model.Image, work: target{},
			Effects: undivided,
		}),
		highRes(c, m.finetune)...)
}

// undivided holds the exceptions for stages that train the whole target model. The division
// into modules affects such a stage only through the weights that it reads.
var undivided = map[string]presets.Effect{"modules": presets.EffectNone}

// metaStage returns the stage that pre-trains the meta model (Algorithm 1, line 2). All
// modular methods share it.
func metaStage(c *presets.Config) Stage {
	return Stage{
		Name: "meta", StageInfo: runs.StageInfo{Kind: "meta", Recipe: "meta"},
		Phase: "meta", Owner: models.Meta, Image: c.Model.Image, work: metaModel{},
		// The stage depends on [modules] and on the target's depth only through the depth
		// of the meta model.
		Effects: map[string]presets.Effect{"modules": presets.EffectNone, "model.depth": presets.EffectNone},
		Values:  map[string]string{"modules.k * modules.meta_depth": fmt.Sprint(c.Modules.K * c.Modules.MetaDepth)},
	}
}

type metaModel struct{}

func (metaModel) network(_ Stage, d models.Division) models.Network { return d.MetaNet() }

func (metaModel) build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return classify(ctx, stages, d, o)
}
