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
	Name string // unique in the experiment, also the name of its folder: "module-2"

	// StageInfo is the part that is also in the run's events. Batch is not set; see
	// [Stage.Describe].
	runs.StageInfo

	Methods []string // the methods that it belongs to; its cost counts for each of them
	Needs   []string // stages whose final checkpoints it reads
	After   []string // stages whose total cost determines its number of epochs; if empty, its recipe does

	Phase       string       // selects its random numbers: stages of one phase see the same batches
	Owner       models.Owner // owner of the parameters that it produces
	Image       int          // height and width of its images, in pixels
	DecayTokens bool         // see backend.Learner

	// Effects lists exceptions to the usual effects of settings on the result of a stage
	// (presets.Setting), by key ("model.depth") or by table ("modules").
	Effects map[string]presets.Effect

	// Values lists values, by key, that replace those of the configuration in
	// determining the result. "" means that the result does not depend on the key.
	Values map[string]string

	work work
}

// work provides the network of a stage and builds the graph that trains it.
type work interface {
	network(s Stage, d models.Division) models.Network
	build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error)
}

// Trains reports whether the stage trains. A stage that does not train assembles modules.
func (s Stage) Trains() bool { return s.Recipe != "" }

// PartOf reports whether the stage belongs to a method.
func (s Stage) PartOf(method string) bool { return slices.Contains(s.Methods, method) }

// Method returns the first method that the stage belongs to.
func (s Stage) Method() string { return s.Methods[0] }

// Settings returns a pointer to the stage's recipe in c, or nil if the stage does not train.
func (s Stage) Settings(c *presets.Config) *presets.Recipe { return c.Recipe(s.Recipe) }

// Network returns the network that the stage trains or assembles. It is also the network
// that is evaluated; for a module, it is the hybrid network.
func (s Stage) Network(d models.Division) models.Network { return s.work.network(s, d) }

// Describe returns the description of the stage for events.
func (s Stage) Describe(c *presets.Config) runs.StageInfo {
	info := s.StageInfo
	if s.Trains() {
		info.Batch = s.Settings(c).Batch
	}
	return info
}

// SharesBatches reports whether two stages train on the same batches, so that one graph can
// train both.
func (s Stage) SharesBatches(other Stage) bool { return s.Group != "" && s.Group == other.Group }

// Build builds the graph that trains one stage, or several stages together (see
// [Stage.SharesBatches]).
func Build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return stages[0].work.build(ctx, stages, d, o)
}

// classify builds the networks of stages, each with cross-entropy as its loss.
func classify(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	var networks []models.Network
	for _, s := range stages {
		networks = append(networks, s.Network(d))
	}
	return models.BuildTraining(ctx, networks, o)
}

// target is the work of stages that train or assemble the whole target model.
type target struct{}

func (target) network(s Stage, d models.Division) models.Network {
	d.Target.Image = s.Image
	return d.TargetNet()
}

func (target) build(ctx context.Context, stages []Stage, d models.Division, o models.BuildOptions) (*models.Graph, error) {
	return classify(ctx, stages, d, o)
}
