// Package pipeline executes an experiment, stage by stage.
//
// A stage is the unit of everything: of progress, of checkpoints and resuming,
// of where it runs. It reads the configuration, the data set and the final
// checkpoints of the stages it needs, and nothing else, so that stages can run
// one after another, together, or on different machines, with the same result.
// On GPUs that holds up to rounding: a stage also reads what it or another stage
// chose by timing (backend.Tunings), and where kernels were timed apart, on two
// machines at once, their choices may differ.
//
// Which stages there are, and what they train, is for package method to say.
package pipeline

import (
	"context"

	"hatchery/engine/method"
	"hatchery/models"
	"hatchery/presets"
)

// trainStage is a stage that trains, with what it trains.
type trainStage struct {
	method.Stage
	recipe   presets.Recipe
	division models.Division
	network  models.Network // what is trained and evaluated; for an imitating module, its hybrid
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

// division is how the experiment divides its target model.
func division(c *presets.Config) (models.Division, error) {
	return models.NewDivision(c.Model, c.Modules.K, c.Modules.Split, c.Modules.MetaDepth)
}

// groups puts stages that run over the same batches together: with
// Run.Together, or on several devices, the modules of a method, otherwise none.
func groups(c *presets.Config, stages []method.Stage) [][]method.Stage {
	together := c.Run.Together
	if d, err := presets.ParseDevice(c.Run.Device); err == nil && len(d.GPUs) > 1 {
		together = true
	}
	var groups [][]method.Stage
	for _, s := range stages {
		if n := len(groups); n > 0 && together && s.Together(groups[n-1][0]) {
			groups[n-1] = append(groups[n-1], s)
			continue
		}
		groups = append(groups, []method.Stage{s})
	}
	return groups
}
