package lower

import (
	"fmt"
	"slices"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// lowering is the state of turning a plan into a program.
type lowering struct {
	Options
	plan    *graph.Plan
	params  *Params
	program *Program
	micro   int // images in a pass

	owner    []int                   // of each step: the only learner that needs it, or shared
	producer map[*graph.Value]int    // the step that computes a value
	readers  map[*graph.Value][]int  // the steps that read a value, in order
	values   map[*graph.Value]*Value // the program's value
	sources  map[*graph.Value]source // contents of leaves that are not parameters
	grads    map[*graph.Value]string // the leaf of which a value is the gradient
	results  map[*graph.Value]string // the name of a value in Results
	lse      map[*graph.Value]*Value // log-sum-exp of attention, by its qkv
	outs     map[*graph.Value]*Value // output of attention, by its qkv
	fused    []fusion                // steps that are fused into each step
	consumed []bool                  // whether a step is fused into another
	inputs   map[string]*Value       // parts of the batch
	skipped  map[*Value]bool         // values within fused steps, which are not stored

	// For streams.go.
	streamOf      []int // the stream of each learner
	after         []int // for each stream, the number of shared operations before it starts
	epilogueBytes int64 // scratch of the work after a pass
	addsBiasGrads bool  // whether passes after the first write gradients of biases that must be added
}

// source is the content of a leaf that is not a parameter.
type source uint8

const (
	imagesLeaf source = iota + 1
	targetsLeaf
	dropPathLeaf
)

const (
	shared  = -1 - iota // several learners need it
	unowned             // no learner needs it
)

// fusion lists the steps that are fused into a step.
type fusion struct {
	norm         *graph.Step // of a residual: the layer_norm of its sum
	gelu         *graph.Step // of a linear
	geluBackward *graph.Step // of a linear_dx
	columnSum    *graph.Step // of a linear_dw
	normBackward *graph.Step // of an add
	scale        *graph.Step // of an add with normBackward
	gradient     *graph.Step // of a loss
}

// enabled reports whether a fusion may be used.
func (l *lowering) enabled(f Fusion) bool { return l.Without&f == 0 }

// soleReader returns the only step that reads v. ok is false if there are more, if v is
// wanted, or if the step does not have the same owner as step i.
func (l *lowering) soleReader(v *graph.Value, i int) (j int, ok bool) {
	if r := l.readers[v]; len(r) == 1 && !v.Wanted && l.owner[r[0]] == l.owner[i] {
		return r[0], true
	}
	return 0, false
}

// reader returns the first step that reads v, is not fused into another, has the same owner
// as step i and satisfies is.
func (l *lowering) reader(v *graph.Value, i int, is func(graph.Step) bool) (j int, ok bool) {
	for _, j := range l.readers[v] {
		if !l.consumed[j] && l.owner[j] == l.owner[i] && is(l.plan.Steps[j]) {
			return j, true
		}
	}
	return 0, false
}

// match finds the steps to fuse.
func (l *lowering) match() {
	steps := l.plan.Steps
	l.fused, l.consumed = make([]fusion, len(steps)), make([]bool, len(steps))
	take := func(j int) *graph.Step {
		l.consumed[j] = true
		return &steps[j]
	}
	tanh := map[*graph.Value]bool{} // inputs of GELUs in epilogues
	for i, s := range steps {
		if l.consumed[i] {
			continue
		}
		switch k := s.Kernel.(type) {
		case nn.ResidualForward:
			if j, ok := l.reader(s.Out[0], i, func(n graph.Step) bool { return isA[nn.LayerNormForward](n) && n.In[0] == s.Out[0] }); ok && l.enabled(ResidualNorm) {
				l.fused[i].norm = take(j)
			}
		case nn.LinearForward:
			if !k.Bias || l.T == kernels.F32 || !l.enabled(LinearGELU) || !l.enabled(LinearBias) || s.Out[0].Wanted {
				break
			}
			if j, ok := l.reader(s.Out[0], i, isA[nn.GELUForward]); ok && l.supports(l.forward(k, l.T, l.geluEpilogue(s))) {
				l.fused[i].gelu = take(j)
				tanh[s.Out[0]] = true
			}
		case nn.LinearBackwardInput:
			j, ok := l.soleReader(s.Out[0], i)
			if !ok || !isA[nn.GELUBackward](steps[j]) || steps[j].In[1] != s.Out[0] || !tanh[steps[j].In[0]] || !l.supports(l.inputGrad(k, blas.DGelu)) {
				break
			}
			l.fused[i].geluBackward = take(j)
		case nn.LayerNormBackward:
			if s.Out[0] == nil || !l.enabled(NormResidual) {
				break
			}
			j, ok := l.soleReader(s.Out[0], i)
			if !ok || !isA[graph.Add](steps[j]) || steps[j].In[0] == steps[j].In[1] || l.fused[j].normBackward != nil {
				break
			}
			l.fused[j].normBackward = take(i)
			if c, ok := l.reader(steps[j].Out[0], j, isA[nn.ScaleSamples]); ok {
				l.fused[j].scale = take(c)
			}
		case nn.CrossEntropyForward, nn.L1Forward:
			j, ok := l.reader(s.In[0], i, func(b graph.Step) bool {
				return (isA[nn.CrossEntropyBackward](b) || isA[nn.L1Backward](b)) && b.In[0] == s.In[0] && b.In[1] == s.In[1] && isOne(b.In[2])
			})
			if ok && l.enabled(LossGradient) {
				l.fused[i].gradient = take(j)
			}
		}
	}
	for i, s := range steps {
		k, ok := s.Kernel.(nn.LinearBackwardWeight)
		if !ok || !l.enabled(WeightBiasGrad) || !l.supports(l.weightGrad(k, blas.SumA)) {
			continue
		}
		if c, ok := l.reader(s.In[0], i, isA[nn.ColumnSum]); ok && l.isBiasGrad(steps[c]) {
			l.fused[i].columnSum = take(c)
		}
	}
}

// supports reports whether a product with its epilogue is supported.
func (l *lowering) supports(g blas.Gemm) bool { return l.Supports == nil || l.Supports(g) }

// geluEpilogue returns the epilogue of a linear layer that is followed by a GELU. It keeps
// the pre-activation if a backward pass reads it.
func (l *lowering) geluEpilogue(linear graph.Step) blas.Epilogue {
	if len(l.readers[linear.Out[0]]) > 1 {
		return blas.GeluAuxBias
	}
	return blas.GeluBias
}

// isA reports whether a step's kernel has type K.
func isA[K graph.Kernel](s graph.Step) bool {
	_, ok := s.Kernel.(K)
	return ok
}

// isOne reports whether a value is the constant 1.
func isOne(v *graph.Value) bool { return v.Leaf && v.Name == "" && v.Const == 1 }

// isBiasGrad reports whether a column_sum computes the gradient of a bias that an epilogue
// can write.
func (l *lowering) isBiasGrad(columnSum graph.Step) bool {
	return l.params.locations[l.grads[columnSum.Out[0]]].bias
}

// assignOwners determines the owner of each step. needs gives the owners of wanted values.
func (l *lowering) assignOwners(needs map[*graph.Value]int) {
	owners := map[*graph.Value]int{}
	add := func(v *graph.Value, owner int) {
		previous, ok := owners[v]
		switch {
		case owner == unowned:
		case !ok:
			owners[v] = owner
		case previous != owner:
			owners[v] = shared
		}
	}
	for v, owner := range needs {
		add(v, owner)
	}
	l.owner = make([]int, len(l.plan.Steps))
	for i := len(l.plan.Steps) - 1; i >= 0; i-- {
		owner := unowned
		for _, v := range l.plan.Steps[i].Out {
			if w, ok := owners[v]; ok && v != nil {
				if owner != unowned && owner != w {
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

// lower makes the operations of the plan.
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
		if l.consumed[i] {
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

// value returns the program's value for a value of the plan, or nil for nil.
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
	case v.Leaf: // a constant, or an input that operations read by its name
	case isGrad:
		w.Name = "grad:" + leaf
		w.At = kernels.Buffer{ID: Grads, Offset: 4 * int64(l.params.locations[leaf].offset)}
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

// valuesOf returns the program's values for a step's inputs or outputs.
func (l *lowering) valuesOf(values []*graph.Value) []*Value {
	all := make([]*Value, len(values))
	for i, v := range values {
		all[i] = l.value(v)
	}
	return all
}

// dtype returns the type in which a value is stored: float32 for statistics, scalars,
// gradients of parameters and inputs of cross-entropies, otherwise Options.T.
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

// temporary makes a value that is not in the plan.
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

// result adds a part to Results and returns its buffer.
func (l *lowering) result(name string, bytes int64) kernels.Buffer {
	p := l.program
	b := kernels.Buffer{ID: Results, Offset: p.ResultBytes}
	p.Results = append(p.Results, Slot{name, p.ResultBytes, bytes})
	p.ResultBytes = roundUp(p.ResultBytes + bytes)
	return b
}

// alignment is the alignment of every value in bytes. It is a multiple of a cache line, and
// cuBLAS prefers it.
const alignment = 256

func roundUp(n int64) int64 { return (n + alignment - 1) / alignment * alignment }
