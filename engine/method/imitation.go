package method

import (
	"context"

	"hatchery/models"
	"hatchery/presets"
)

// imitation is Module Imitation, which the paper compares with assembling (section 3). Each
// module learns to reproduce the output of the meta module that it replaces.
type imitation struct{}

func (imitation) Name() string { return "imitation" }

func (imitation) Stages(c *presets.Config, _ []Stage) []Stage {
	return modular{kind: "imitate", group: "imitation", assemble: "assemble-imitation", finetune: "finetune-imitation", work: imitate{}}.stages(c)
}

// imitate trains a module to imitate its meta module. The module is evaluated in its hybrid
// network.
type imitate struct{}

func (imitate) network(s Stage, d models.Division) models.Network { return d.Hybrid(s.Module) }

func (imitate) build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	var modules []int
	for _, s := range stages {
		modules = append(modules, s.Module)
	}
	return models.BuildImitation(ctx, d, modules, o)
}
