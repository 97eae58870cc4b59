package method

import (
	"context"
	"slices"

	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// Stage is one stage of an experiment.
type Stage struct {
	Name string // unique in the experiment, and the name of its folder: "module-2"

	// Info is what a run's events say of the stage. Info.Batch is left to
	// [Stage.Describe].
	runs.StageInfo

	Methods []string // the methods that consist of it, each of which is billed for it
	Needs   []string // stages whose final checkpoints it reads
	After   []string // stages whose cost decides how long it trains; usually none, and its recipe decides

	Phase       string       // names its random numbers: stages of one phase see the same batches
	Owner       models.Owner // of the parameters that it leaves
	Image       int          // height and width of its images, pixels
	DecayTokens bool         // see backend.Learner

	// Effects are exceptions to the effects that settings usually have on the result
	// of a stage (presets.Setting), by key ("model.depth") or by table ("modules").
	Effects map[string]presets.Effect

	// Values are values that the result depends on in place of those in the
	// configuration, by key. With "" it does not depend on the key.
	Values map[string]string

	work work
}

// work is what a stage that trains does.
type work interface {
	network(s Stage, d models.Division) models.Network
	build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error)
}

// Trains reports whether the stage trains, rather than put trained modules together.
func (s Stage) Trains() bool { return s.Recipe != "" }

// PartOf reports whether a method consists of the stage, among others.
func (s Stage) PartOf(method string) bool { return slices.Contains(s.Methods, method) }

// Method is the first method that needs the stage.
func (s Stage) Method() string { return s.Methods[0] }

// Settings returns the recipe of the stage, or nil if it does not train. It is part
// of c.
func (s Stage) Settings(c *presets.Config) *presets.Recipe { return c.Recipe(s.Recipe) }

// Network returns the network that the stage trains and that is evaluated, or that it
// puts together. A module is evaluated in its hybrid network.
func (s Stage) Network(d models.Division) models.Network { return s.work.network(s, d) }

// Describe returns what events say of the stage.
func (s Stage) Describe(c *presets.Config) runs.StageInfo {
	info := s.StageInfo
	if s.Trains() {
		info.Batch = s.Settings(c).Batch
	}
	return info
}

// Together reports whether two stages train over the same batches, so that one graph
// can train both.
func (s Stage) Together(other Stage) bool { return s.Group != "" && s.Group == other.Group }

// Build builds the graph that trains stages together: a single one, or several
// modules of a method (see [Stage.Together]).
func Build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return stages[0].work.build(ctx, stages, d, o)
}

// classify builds networks with the cross-entropy of each as its loss.
func classify(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	var networks []models.Network
	for _, s := range stages {
		networks = append(networks, s.Network(d))
	}
	return models.BuildTraining(ctx, networks, o)
}

// target is the work of stages that train, or assemble, the whole target model.
type target struct{}

func (target) network(s Stage, d models.Division) models.Network {
	d.Target.Image = s.Image
	return d.TargetNet()
}

func (target) build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return classify(ctx, stages, d, o)
}
