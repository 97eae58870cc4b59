package lower

import (
	"context"
	"fmt"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/models"
)

// Optimizer says how parameters are updated at the end of a step. The learning
// rate is a float64 in the batch, under the name "rate".
type Optimizer struct {
	Beta1, Beta2, Eps, WeightDecay float64
	Clip                           float64 // global norm; 0: off
	EMADecay                       float64 // of the moving average of the parameters; 0: off
	LAMB                           bool    // LAMB rather than AdamW
}

// LossName returns the name in Results of learner i's loss, one float32. The losses and
// states of a training program come first in Results, learner by learner.
func LossName(i int) string { return fmt.Sprintf("loss/%d", i) }

// StateName returns the name in Results of the kernels.State of learner i's optimizer.
func StateName(i int) string { return fmt.Sprintf("state/%d", i) }

// RateName is the input that holds the learning rate, one float64.
const RateName = "rate"

// Training lowers the training of the learners of a graph, whose output i
// belongs to learner i of params. The graph's batch is that of a pass, and
// o.Batch a multiple of it: gradients add up over the passes of a step. Of the
// values in keep, which have to be outputs of operations, Results holds those
// of the last pass under KeepName.
func Training(ctx context.Context, g *models.Graph, params *Params, opt Optimizer, o Options, keep ...*graph.Node) (*Program, error) {
	grads, err := g.Gradients(ctx, g.Loss)
	if err != nil {
		return nil, err
	}
	wanted := append([]*graph.Node{}, grads...)
	for _, out := range g.Outputs {
		wanted = append(wanted, out.Loss)
	}
	plan, err := g.Plan(append(wanted, keep...)...)
	if err != nil {
		return nil, err
	}
	l := newLowering(g, plan, params, o)
	if len(g.Outputs) != len(params.Learners) {
		return nil, fmt.Errorf("lower: %d outputs for %d learners", len(g.Outputs), len(params.Learners))
	}
	needs := map[*graph.Value]int{}
	for i, out := range g.Outputs {
		v := plan.Value(out.Loss)
		l.results[v] = LossName(i)
		needs[v] = i
	}
	for i := range g.Outputs {
		l.value(plan.Value(g.Outputs[i].Loss)) // they come first in Results
		l.result(StateName(i), kernels.StateBytes)
	}
	for i, p := range g.Params() {
		at, ok := params.places[p.Name()]
		if !ok || at.learner < 0 {
			return nil, fmt.Errorf("lower: parameter %s belongs to no learner", p.Name())
		}
		v := plan.Value(grads[i])
		if was, ok := l.grads[v]; ok {
			return nil, fmt.Errorf("lower: parameters %s and %s have one gradient", was, p.Name())
		}
		l.grads[v] = p.Name()
		needs[v] = at.learner
	}
	l.keep(keep, needs)
	l.own(needs)
	if err := l.lower(); err != nil {
		return nil, err
	}
	rate := l.input(RateName, 8)
	optimizers := make([]kernels.Optimizer, len(params.Learners))
	for i, p := range params.Learners {
		floats := func(region Region) kernels.Buffer { return kernels.Buffer{ID: region, Offset: int64(4 * p.First)} }
		optimizers[i] = kernels.Optimizer{
			Layout: p.Layout,
			Chunks: kernels.Buffer{ID: Tables, Offset: int64(p.Chunks)}, Starts: kernels.Buffer{ID: Tables, Offset: int64(p.Starts)},
			Params: floats(Master), M: floats(Moment1), V: floats(Moment2), Grad: floats(Grads),
			Rate: rate.At, Loss: l.values[plan.Value(g.Outputs[i].Loss)].At, State: l.state(i),
			Beta1: opt.Beta1, Beta2: opt.Beta2, Eps: opt.Eps, WeightDecay: opt.WeightDecay, Clip: opt.Clip, EMADecay: opt.EMADecay,
		}
		if o.T == kernels.BF16 {
			optimizers[i].Copy = kernels.Buffer{ID: Copies, Offset: int64(2 * p.First)}
		}
		if opt.EMADecay > 0 {
			optimizers[i].EMA = floats(EMA)
		}
		scratch := optimizers[i].ScratchBytes()
		if opt.LAMB {
			scratch = optimizers[i].LAMBScratchBytes()
		}
		l.lastScratch = max(l.lastScratch, int64(scratch))
	}
	return l.finish(len(params.Learners), func(e *emitter, i int) {
		p := params.Learners[i]
		if e.add() && p.Biases > 0 && l.passBiases {
			e.launch(kernels.Accumulate(kernels.F32, p.Biases, kernels.Buffer{ID: Grads, Offset: int64(4 * p.First)}, kernels.Buffer{ID: Grads, Offset: int64(4 * p.Pass)}))
		}
		if e.pass == l.program.passes-1 {
			step := optimizers[i]
			step.Scratch = e.scratch
			if opt.LAMB {
				e.launch(kernels.LAMB(step)...)
			} else {
				e.launch(kernels.AdamW(step)...)
			}
		}
	})
}

// state returns the place of a learner's optimizer state.
func (l *lowering) state(i int) kernels.Buffer {
	s := l.program.Result(StateName(i))
	return kernels.Buffer{ID: Results, Offset: s.Offset}
}

// LossesName returns the name in Results of network i's cross-entropy for each image of
// the batch.
func LossesName(i int) string { return fmt.Sprintf("losses/%d", i) }

// CorrectName returns the name in Results of an array that holds, for each image of the
// batch, 1 if network i's top prediction is right, else 0.
func CorrectName(i int) string { return fmt.Sprintf("correct/%d", i) }

// KeepName returns the name in Results of value i of those kept.
func KeepName(i int) string { return fmt.Sprintf("keep/%d", i) }

// Evaluation lowers the evaluation of the networks of a graph.
func Evaluation(g *models.Graph, params *Params, o Options, keep ...*graph.Node) (*Program, error) {
	var wanted []*graph.Node
	for _, out := range g.Outputs {
		wanted = append(wanted, out.Losses, out.Correct)
	}
	plan, err := g.Plan(append(wanted, keep...)...)
	if err != nil {
		return nil, err
	}
	l := newLowering(g, plan, params, o)
	needs := map[*graph.Value]int{}
	for i, out := range g.Outputs {
		losses, correct := plan.Value(out.Losses), plan.Value(out.Correct)
		l.results[losses], l.results[correct] = LossesName(i), CorrectName(i)
		needs[losses], needs[correct] = i, i
	}
	l.keep(keep, needs)
	l.own(needs)
	if err := l.lower(); err != nil {
		return nil, err
	}
	return l.finish(len(g.Outputs), nil)
}

// newLowering prepares the lowering of a plan of a graph.
func newLowering(g *models.Graph, plan *graph.Plan, params *Params, o Options) *lowering {
	l := &lowering{
		Options: o, plan: plan, params: params, program: &Program{params: params}, micro: g.Images.Shape()[0],
		values: map[*graph.Value]*Value{}, sources: map[*graph.Value]source{}, grads: map[*graph.Value]string{}, results: map[*graph.Value]string{},
		lse: map[*graph.Value]*Value{}, outs: map[*graph.Value]*Value{}, inputs: map[string]*Value{}, skipped: map[*Value]bool{},
	}
	l.program.passes = o.Batch / l.micro
	leaf := func(n *graph.Node, s source) {
		if v := plan.Value(n); v != nil {
			l.sources[v] = s
		}
	}
	leaf(g.Images, imagesLeaf)
	leaf(g.Targets, targetsLeaf)
	for _, d := range g.DropPaths {
		leaf(d.Node, dropPathLeaf)
	}
	return l
}

// keep puts values into Results.
func (l *lowering) keep(nodes []*graph.Node, needs map[*graph.Value]int) {
	for i, n := range nodes {
		v := l.plan.Value(n)
		l.results[v] = KeepName(i)
		if _, ok := needs[v]; !ok {
			needs[v] = nobody
		}
	}
}

// finish places the values and writes the commands.
func (l *lowering) finish(learners int, last func(e *emitter, learner int)) (*Program, error) {
	for _, s := range l.plan.Steps {
		if err := l.check(s); err != nil {
			return nil, err
		}
	}
	l.streams(learners)
	if err := l.place(); err != nil {
		return nil, err
	}
	l.emit(last)
	return l.program, nil
}

// check says what a kernel cannot do.
func (l *lowering) check(s graph.Step) error {
	switch k := s.Kernel.(type) {
	case nn.AttentionForward:
		if l.T == kernels.BF16 && k.D > kernels.MaxHead {
			return fmt.Errorf("heads of width %d: the GPU's attention has at most %d; use more heads", k.D, kernels.MaxHead)
		}
	case nn.Patchify:
		if l.Pixels != nil && k.Channels > maxChannels {
			return fmt.Errorf("images of %d channels: the GPU's input has at most %d", k.Channels, maxChannels)
		}
	}
	return nil
}

// maxChannels is what kernels.Patches has room for.
const maxChannels = 4
