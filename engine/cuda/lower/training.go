package lower

import (
	"context"
	"fmt"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/models"
)

// Optimizer holds the settings of the optimizer. The learning rate is not among them: it is
// the input RateName.
type Optimizer struct {
	Beta1, Beta2, Eps, WeightDecay float64
	Clip                           float64 // global norm; 0: off
	EMADecay                       float64 // of the moving average of the parameters; 0: off
	LAMB                           bool    // LAMB instead of AdamW
}

// LossName returns the name in Results of learner i's loss, one float32. The losses and
// states of a training program come first in Results, learner by learner.
func LossName(i int) string { return fmt.Sprintf("loss/%d", i) }

// StateName returns the name in Results of the kernels.State of learner i's optimizer.
func StateName(i int) string { return fmt.Sprintf("state/%d", i) }

// RateName is the name of the input that holds the learning rate, one float64.
const RateName = "rate"

// Training lowers the training of a graph whose output i belongs to learner i of params.
// The graph's batch is that of a pass, and o.Batch is a multiple of it: gradients are summed
// over the passes of a step. The values in keep, which must be outputs of operations, are
// stored in Results under KeepName, from the last pass.
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
		l.value(plan.Value(g.Outputs[i].Loss)) // so that they come first in Results
		l.result(StateName(i), kernels.StateBytes)
	}
	for i, p := range g.Params() {
		loc, ok := params.locations[p.Name()]
		if !ok || loc.learner < 0 {
			return nil, fmt.Errorf("lower: parameter %s belongs to no learner", p.Name())
		}
		v := plan.Value(grads[i])
		if other, ok := l.grads[v]; ok {
			return nil, fmt.Errorf("lower: parameters %s and %s have the same gradient", other, p.Name())
		}
		l.grads[v] = p.Name()
		needs[v] = loc.learner
	}
	l.keep(keep, needs)
	l.assignOwners(needs)
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
		l.epilogueBytes = max(l.epilogueBytes, int64(scratch))
	}
	return l.finish(len(params.Learners), func(e *emitter, i int) {
		p := params.Learners[i]
		if e.add() && p.Biases > 0 && l.addsBiasGrads {
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

// state returns the buffer of a learner's optimizer state.
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
	l.assignOwners(needs)
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

// keep stores values in Results.
func (l *lowering) keep(nodes []*graph.Node, needs map[*graph.Value]int) {
	for i, n := range nodes {
		v := l.plan.Value(n)
		l.results[v] = KeepName(i)
		if _, ok := needs[v]; !ok {
			needs[v] = unowned
		}
	}
}

// finish assigns offsets and writes the commands.
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

// check returns an error if no kernel supports a step.
func (l *lowering) check(s graph.Step) error {
	switch k := s.Kernel.(type) {
	case nn.AttentionForward:
		if l.T == kernels.BF16 && k.D > kernels.MaxHead {
			return fmt.Errorf("heads of width %d: attention on a GPU supports at most %d; use more heads", k.D, kernels.MaxHead)
		}
	case nn.Patchify:
		if l.Pixels != nil && k.Channels > maxChannels {
			return fmt.Errorf("images of %d channels: a GPU supports at most %d", k.Channels, maxChannels)
		}
	}
	return nil
}

// maxChannels is the limit of kernels.Patches.
const maxChannels = 4
