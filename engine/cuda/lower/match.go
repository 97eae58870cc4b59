package lower

import (
	"fmt"
	"slices"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// lowering is a plan on its way to a program.
type lowering struct {
	Options
	plan    *graph.Plan
	params  *Params
	program *Program
	micro   int // images of a pass

	owner    []int                   // of each step: the learner that alone needs it, or shared
	producer map[*graph.Value]int    // step
	readers  map[*graph.Value][]int  // steps, in order
	values   map[*graph.Value]*Value //
	sources  map[*graph.Value]source // leaves that are not parameters, by what they hold
	grads    map[*graph.Value]string // the leaf whose gradient a value is
	results  map[*graph.Value]string // the name under which a value is found in Results
	lse      map[*graph.Value]*Value // attention's, by its qkv
	outs     map[*graph.Value]*Value // attention's output, by its qkv
	joins    []join                  // of each step
	joined   []bool                  // the step is part of another
	inputs   map[string]*Value       // parts of the batch
	skipped  map[*Value]bool         // values that joined steps do not leave in memory

	// Of streams.go: the stream of each learner, how many shared operations go
	// before a stream leaves stream 0, and the scratch of what follows a pass.
	streamOf, after []int
	lastScratch     int64
	passBiases      bool // epilogues wrote gradients of biases that a pass adds
}

// source is what a leaf holds.
type source uint8

const (
	imagesLeaf source = iota + 1
	targetsLeaf
	dropPathLeaf
)

const (
	shared = -1 - iota // by several learners
	nobody             // not decided yet
)

// join is what a step does together with others.
type join struct {
	norm         *graph.Step // of a residual: the layer_norm of its sum
	gelu         *graph.Step // of a linear
	geluBackward *graph.Step // of a linear_dx
	columnSum    *graph.Step // of a linear_dw
	normBackward *graph.Step // of an add
	scale        *graph.Step // of an add with normBackward
	gradient     *graph.Step // of a loss
}

// with reports whether a fusion is to be used.
func (l *lowering) with(f Fusion) bool { return l.Without&f == 0 }

// sole returns the only step that reads v, if it is one that the owner of step
// i owns.
func (l *lowering) sole(v *graph.Value, i int) (j int, ok bool) {
	if r := l.readers[v]; len(r) == 1 && !v.Wanted && l.owner[r[0]] == l.owner[i] {
		return r[0], true
	}
	return 0, false
}

// reader returns the first step that reads v, is not part of another, has the
// owner of step i and satisfies is.
func (l *lowering) reader(v *graph.Value, i int, is func(graph.Step) bool) (j int, ok bool) {
	for _, j := range l.readers[v] {
		if !l.joined[j] && l.owner[j] == l.owner[i] && is(l.plan.Steps[j]) {
			return j, true
		}
	}
	return 0, false
}

// match finds the steps that one operation does together.
func (l *lowering) match() {
	steps := l.plan.Steps
	l.joins, l.joined = make([]join, len(steps)), make([]bool, len(steps))
	take := func(j int) *graph.Step {
		l.joined[j] = true
		return &steps[j]
	}
	tanh := map[*graph.Value]bool{} // what was put through the epilogue's GELU
	for i, s := range steps {
		if l.joined[i] {
			continue
		}
		switch k := s.Kernel.(type) {
		case nn.ResidualForward:
			if j, ok := l.reader(s.Out[0], i, func(n graph.Step) bool { return isA[nn.LayerNormForward](n) && n.In[0] == s.Out[0] }); ok && l.with(ResidualNorm) {
				l.joins[i].norm = take(j)
			}
		case nn.LinearForward:
			if !k.Bias || l.T == kernels.F32 || !l.with(LinearGELU) || !l.with(LinearBias) || s.Out[0].Wanted {
				break
			}
			if j, ok := l.reader(s.Out[0], i, isA[nn.GELUForward]); ok && l.can(l.forward(k, l.T, l.geluEpilogue(s))) {
				l.joins[i].gelu = take(j)
				tanh[s.Out[0]] = true
			}
		case nn.LinearBackwardInput:
			j, ok := l.sole(s.Out[0], i)
			if !ok || !isA[nn.GELUBackward](steps[j]) || steps[j].In[1] != s.Out[0] || !tanh[steps[j].In[0]] || !l.can(l.inputGrad(k, blas.DGelu)) {
				break
			}
			l.joins[i].geluBackward = take(j)
		case nn.LayerNormBackward:
			if s.Out[0] == nil || !l.with(NormResidual) {
				break
			}
			j, ok := l.sole(s.Out[0], i)
			if !ok || !isA[graph.Add](steps[j]) || steps[j].In[0] == steps[j].In[1] || l.joins[j].normBackward != nil {
				break
			}
			l.joins[j].normBackward = take(i)
			if c, ok := l.reader(steps[j].Out[0], j, isA[nn.ScaleSamples]); ok {
				l.joins[j].scale = take(c)
			}
		case nn.CrossEntropyForward, nn.L1Forward:
			j, ok := l.reader(s.In[0], i, func(b graph.Step) bool {
				return (isA[nn.CrossEntropyBackward](b) || isA[nn.L1Backward](b)) && b.In[0] == s.In[0] && b.In[1] == s.In[1] && isOne(b.In[2])
			})
			if ok && l.with(LossGradient) {
				l.joins[i].gradient = take(j)
			}
		}
	}
	for i, s := range steps {
		k, ok := s.Kernel.(nn.LinearBackwardWeight)
		if !ok || !l.with(WeightBiasGrad) || !l.can(l.weightGrad(k, blas.SumA)) {
			continue
		}
		if c, ok := l.reader(s.In[0], i, isA[nn.ColumnSum]); ok && l.bias(steps[c]) {
			l.joins[i].columnSum = take(c)
		}
	}
}

// can reports whether a product with its epilogue can be had.
func (l *lowering) can(g blas.Gemm) bool { return l.Supports == nil || l.Supports(g) }

// geluEpilogue is that of a linear layer before a GELU, which keeps the
// pre-activation if there is a backward pass to read it.
func (l *lowering) geluEpilogue(linear graph.Step) blas.Epilogue {
	if len(l.readers[linear.Out[0]]) > 1 {
		return blas.GeluAuxBias
	}
	return blas.GeluBias
}

// isA reports whether a step's kernel is of type K.
func isA[K graph.Kernel](s graph.Step) bool {
	_, ok := s.Kernel.(K)
	return ok
}

// isOne reports whether a value is the constant 1.
func isOne(v *graph.Value) bool { return v.Leaf && v.Name == "" && v.Const == 1 }

// bias reports whether a column_sum is the gradient of a bias that an epilogue can
// write: one that has room for what a pass adds.
func (l *lowering) bias(columnSum graph.Step) bool {
	return l.params.places[l.grads[columnSum.Out[0]]].bias
}

// own finds out which learner needs which steps. needs gives the learner that
// wants a value.
func (l *lowering) own(needs map[*graph.Value]int) {
	wants := map[*graph.Value]int{}
	add := func(v *graph.Value, owner int) {
		was, ok := wants[v]
		switch {
		case owner == nobody:
		case !ok:
			wants[v] = owner
		case was != owner:
			wants[v] = shared
		}
	}
	for v, owner := range needs {
		add(v, owner)
	}
	l.owner = make([]int, len(l.plan.Steps))
	for i := len(l.plan.Steps) - 1; i >= 0; i-- {
		owner := nobody
		for _, v := range l.plan.Steps[i].Out {
			if w, ok := wants[v]; ok && v != nil {
				if owner != nobody && owner != w {
					w = shared
				}
				owner = w
			}
		}
		l.owner[i] = owner
		for _, v := range l.plan.Steps[i].In {
			add(v, owner)
		}
	}
}

// lower goes through a plan.
func (l *lowering) lower() error {
	l.producer, l.readers = map[*graph.Value]int{}, map[*graph.Value][]int{}
	for i, s := range l.plan.Steps {
		for _, v := range s.Out {
			if v != nil {
				l.producer[v] = i
			}
		}
		for _, v := range s.In {
			if r := l.readers[v]; len(r) == 0 || r[len(r)-1] != i {
				l.readers[v] = append(r, i)
			}
		}
	}
	l.match()
	for i := range l.plan.Steps {
		if l.joined[i] {
			continue
		}
		if err := l.step(i); err != nil {
			return fmt.Errorf("lower: step %d (%s): %w", i, l.plan.Steps[i].Kernel.Name(), err)
		}
	}
	p := l.program
	p.values = slices.DeleteFunc(p.values, func(v *Value) bool { return l.skipped[v] })
	return nil
}

// value is what a plan's value becomes: nil for one that is not there.
func (l *lowering) value(v *graph.Value) *Value {
	if v == nil {
		return nil
	}
	if w, ok := l.values[v]; ok {
		return w
	}
	w := &Value{DType: l.dtype(v), Elements: v.Elements()}
	l.values[v] = w
	switch leaf, isGrad := l.grads[v]; {
	case v.Leaf && v.Name != "" && l.sources[v] == 0:
		w.Name, w.DType = v.Name, kernels.F32
		w.At = l.params.buffer(v.Name)
	case v.Leaf && l.sources[v] == dropPathLeaf:
		w = l.input(v.Name, 4*int64(l.Batch))
		l.values[v] = w
	case v.Leaf: // a constant, or what an operation of its own reads
	case isGrad:
		w.Name = "grad:" + leaf
		w.At = kernels.Buffer{ID: Grads, Offset: 4 * int64(l.params.places[leaf].at)}
	default:
		if name, ok := l.results[v]; ok {
			w.Name = name
			w.At = l.result(name, w.Bytes())
		} else {
			l.program.values = append(l.program.values, w)
		}
	}
	return w
}

// all returns the values of a step's inputs or outputs.
func (l *lowering) all(values []*graph.Value) []*Value {
	all := make([]*Value, len(values))
	for i, v := range values {
		all[i] = l.value(v)
	}
	return all
}

// dtype is how a value is stored: statistics, scalars, parameters' gradients
// and what a cross-entropy reads are float32.
func (l *lowering) dtype(v *graph.Value) kernels.DType {
	if _, ok := l.grads[v]; ok || v.Shape.Dims() == 0 || v.Leaf {
		return kernels.F32
	}
	if i, ok := l.producer[v]; ok {
		s := l.plan.Steps[i]
		switch s.Kernel.(type) {
		case nn.Score:
			return kernels.F32
		case nn.LayerNormForward:
			if s.Out[0] != v {
				return kernels.F32
			}
		}
	}
	for _, i := range l.readers[v] {
		switch l.plan.Steps[i].Kernel.(type) {
		case nn.CrossEntropyForward, nn.CrossEntropyBackward, nn.Score:
			return kernels.F32
		}
	}
	return l.T
}

// temporary returns a value that no plan knows.
func (l *lowering) temporary(t kernels.DType, elements int) *Value {
	v := &Value{DType: t, Elements: elements}
	l.program.values = append(l.program.values, v)
	return v
}

// input returns a part of the batch, which its first use creates. Its type is nominal:
// kernels read the bytes.
func (l *lowering) input(name string, bytes int64) *Value {
	if v, ok := l.inputs[name]; ok {
		return v
	}
	p := l.program
	v := &Value{Name: name, DType: kernels.F32, Elements: int(bytes) / kernels.F32.Size(), At: kernels.Buffer{ID: Input, Offset: p.InputBytes}}
	p.Inputs = append(p.Inputs, Slot{name, p.InputBytes, bytes})
	p.InputBytes = roundUp(p.InputBytes + bytes)
	l.inputs[name] = v
	return v
}

// result makes a part of Results.
func (l *lowering) result(name string, bytes int64) kernels.Buffer {
	p := l.program
	b := kernels.Buffer{ID: Results, Offset: p.ResultBytes}
	p.Results = append(p.Results, Slot{name, p.ResultBytes, bytes})
	p.ResultBytes = roundUp(p.ResultBytes + bytes)
	return b
}

// alignment is that of every value, bytes: a cache line, and what cuBLAS likes.
const alignment = 256

func roundUp(n int64) int64 { return (n + alignment - 1) / alignment * alignment }
