package method

import (
	"context"

	"hatchery/models"
	"hatchery/presets"
)

// assembling is Deep Model Assembling, Algorithm 1 of the paper. Each module is trained
// inside the frozen meta model ("module incubation", line 5).
type assembling struct{}

func (assembling) Name() string { return "assembling" }

func (assembling) Stages(c *presets.Config, _ []Stage) []Stage {
	return modular{kind: "incubate", group: "module", assemble: "assemble", finetune: "finetune", work: hybrid{}}.stages(c)
}

// hybrid trains a module inside the frozen meta model.
type hybrid struct{}

func (hybrid) network(s Stage, d models.Division) models.Network { return d.Hybrid(s.Module) }

func (hybrid) build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return classify(ctx, stages, d, o)
}
