// Package pipeline executes an experiment, stage by stage.
//
// A stage is the unit of progress, of checkpoints, of resuming and of scheduling. It depends
// only on the configuration, the data set and the final checkpoints of the stages that it
// needs. Stages can therefore run one after another, together, or on different machines, with
// the same result. On GPUs this holds up to rounding: a stage also uses kernels that it or
// another stage chose by timing (backend.Tunings), and stages that time kernels
// independently, on two machines at once, may choose different ones.
//
// Package method defines the stages.
package pipeline

import (
	"context"

	"hatchery/engine/method"
	"hatchery/models"
	"hatchery/presets"
)

// trainStage is a stage that trains, with its recipe and its network.
type trainStage struct {
	method.Stage
	recipe   presets.Recipe
	division models.Division
	network  models.Network // trained and evaluated; the hybrid network for a module of imitation
}

func newTrainStage(c *presets.Config, d models.Division, s method.Stage) *trainStage {
	return &trainStage{Stage: s, recipe: *s.Settings(c), division: d, network: s.Network(d)}
}

// buildTraining builds the graph that trains stages together.
func buildTraining(ctx context.Context, stages []*trainStage, o models.BuildOptions) (*models.Graph, error) {
	all := make([]method.Stage, len(stages))
	for i, s := range stages {
		all[i] = s.Stage
	}
	return method.Build(ctx, all, stages[0].division, o)
}

// division returns the division of the target model into modules.
func division(c *presets.Config) (models.Division, error) {
	return models.NewDivision(c.Model, c.Modules.K, c.Modules.Split, c.Modules.MetaDepth)
}

// groups groups the stages that are trained together: with Run.Together, or on several
// devices, the modules of a method. Other stages form groups of one.
func groups(c *presets.Config, stages []method.Stage) [][]method.Stage {
	together := c.Run.Together
	if d, err := presets.ParseDevice(c.Run.Device); err == nil && len(d.GPUs) > 1 {
		together = true
	}
	var groups [][]method.Stage
	for _, s := range stages {
		if n := len(groups); n > 0 && together && s.SharesBatches(groups[n-1][0]) {
			groups[n-1] = append(groups[n-1], s)
			continue
		}
		groups = append(groups, []method.Stage{s})
	}
	return groups
}
