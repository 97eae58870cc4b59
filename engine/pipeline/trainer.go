package pipeline

import (
	"fmt"
	"math"

	"hatchery/datasets"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/engine/random"
	"hatchery/models"
	"hatchery/presets"
)

// trainer runs optimizer steps of one or several learners over the same
// batches: one graph, one executor.
type trainer struct {
	graph    *models.Graph
	executor *cpu.Executor[float32]
	plan     *graph.Plan
	recipe   presets.Stage
	learners []*learner
	micro    int // images of a pass
	masks    []mask
	images   []float32
	targets  []float32

	seed    uint64
	purpose string // of the random numbers: the phase, the same for modules together or alone
	stream  random.Stream
}

// mask is the storage of one drop-path input.
type mask struct {
	models.DropPath
	purpose string
	scale   []float32
}

// newTrainer compiles the training of stages in one graph. Parameters are taken
// from w, where those not yet there are initialised.
func newTrainer(stages []*trainStage, w weights, pool *cpu.Pool, seed uint64) (*trainer, error) {
	recipe := stages[0].recipe
	t := &trainer{recipe: recipe, micro: recipe.Batch, seed: seed, purpose: stages[0].phase}
	if recipe.MicroBatch > 0 {
		t.micro = recipe.MicroBatch
	}
	var err error
	if t.graph, err = buildTraining(stages, models.BuildOptions{Batch: t.micro, DropPath: recipe.DropPath}); err != nil {
		return nil, err
	}
	grads, err := t.graph.Gradients(t.graph.Loss)
	if err != nil {
		return nil, err
	}
	wanted := append([]*graph.Node{}, grads...)
	for _, o := range t.graph.Outputs {
		wanted = append(wanted, o.Loss)
	}
	if t.plan, err = t.graph.Plan(wanted...); err != nil {
		return nil, err
	}
	for _, s := range stages {
		w.initialise(s.network.Params(), seed)
	}
	if t.executor, err = cpu.Compile[float32](t.plan, pool, w); err != nil {
		return nil, err
	}
	t.images, t.targets = t.executor.Data(t.graph.Images), t.executor.Data(t.graph.Targets)
	for _, d := range t.graph.DropPaths {
		if scale := t.executor.Data(d.Node); scale != nil {
			t.masks = append(t.masks, mask{d, fmt.Sprintf("%s/drop_path/%s", t.purpose, d.Layer.Owner), scale})
		}
	}
	byLeaf := map[string]*graph.Node{}
	for i, p := range t.graph.Params() {
		byLeaf[p.Name()] = grads[i]
	}
	for i, s := range stages {
		l, err := newLearner(s, w, func(p models.NetParam) []float32 { return t.executor.Data(byLeaf[p.Leaf()]) }, t.passes(), pool)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		l.loss = t.executor.Data(t.graph.Outputs[i].Loss)
		t.learners = append(t.learners, l)
	}
	return t, nil
}

// passes is the number of forward and backward passes of a step.
func (t *trainer) passes() int { return t.recipe.Batch / t.micro }

// step makes one optimizer step of every learner. Where a loss or the norm of a
// gradient is not finite the error is a *Diverged, and that learner's weights
// are what they were.
func (t *trainer) step(b *datasets.Batch, lr float64) error {
	for _, l := range t.learners {
		l.stepLoss = 0
	}
	imageSize, classes := len(t.images)/t.micro, len(t.targets)/t.micro
	for pass := range t.passes() {
		first := pass * t.micro
		copy(t.images, b.Images[first*imageSize:])
		copy(t.targets, b.Targets[first*classes:])
		t.drop(b.Epoch, b.Step*t.recipe.Batch+first)
		t.executor.Run()
		for _, l := range t.learners {
			loss := float64(l.loss[0])
			if math.IsNaN(loss) || math.IsInf(loss, 0) {
				return &Diverged{Stage: l.stage, What: "loss", Value: loss, Epoch: b.Epoch, Step: b.Step, LR: lr}
			}
			l.stepLoss += loss / float64(t.passes())
			l.accumulate(pass, t.passes())
		}
	}
	for _, l := range t.learners {
		norm := l.optimizer.Step(lr, t.recipe.ClipGrad)
		if math.IsNaN(norm) || math.IsInf(norm, 0) {
			return &Diverged{Stage: l.stage, What: "gradient norm", Value: norm, Epoch: b.Epoch, Step: b.Step, LR: lr}
		}
	}
	return nil
}

// drop draws which residual branches are dropped for the samples of a pass,
// counted from first in the epoch.
func (t *trainer) drop(epoch, first int) {
	for _, m := range t.masks {
		keep := 1 - m.Rate
		for i := range m.scale {
			t.stream.Reset(t.seed, m.purpose, uint64(m.Layer.Block), uint64(m.Branch), uint64(epoch), uint64(first+i))
			m.scale[i] = 0
			if t.stream.Float64() < keep {
				m.scale[i] = float32(1 / keep)
			}
		}
	}
}

// Diverged is training that went to NaN or infinity.
type Diverged struct {
	Stage       string
	What        string // "loss" or "gradient norm"
	Value       float64
	Epoch, Step int
	LR          float64
}

func (d *Diverged) Error() string {
	return fmt.Sprintf("%s: the %s is %v at epoch %d, step %d, with learning rate %.3g; the last checkpoint before it is kept. "+
		"A lower lr, a longer warm-up or gradient clipping may help", d.Stage, d.What, d.Value, d.Epoch+1, d.Step+1, d.LR)
}
