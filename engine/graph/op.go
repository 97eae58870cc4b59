package graph

import (
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

type (
	// Node is a value of the expression graph.
	Node = gorgonia.Node
	// Shape is the extent of a value along each axis; a scalar has none.
	Shape = tensor.Shape
)

// DType is the type in which a graph computes.
type DType int

const (
	// Float32 is what training uses.
	Float32 DType = iota
	// Float64 is for checking gradients.
	Float64
)

func (d DType) tensor() tensor.Dtype {
	if d == Float64 {
		return tensor.Float64
	}
	return tensor.Float32
}

// Kernel is one fused computation. Its exported fields hold all sizes that an executor
// needs. The executor chooses its code by the kernel's type.
type Kernel interface {
	// Name returns the name of the kernel's type, such as "linear" or "layer_norm".
	Name() string
}

// Differentiable is a Kernel whose output 0 can be differentiated.
type Differentiable interface {
	Kernel
	// Gradient adds nodes that compute the gradient of each input from dout, the
	// gradient of output 0. An entry may be nil if c.Needs reports false for it.
	Gradient(c *Call, in []*Node, out, dout *Node) []*Node
}

// Call is one application of a kernel. An operation of Gorgonia has exactly one output,
// while a kernel may have several (such as the gradients of a LayerNorm), so each output
// that is used becomes a node of its own. The plan runs the call once.
type Call struct {
	Kernel
	id     uint32 // unique in its builder
	dtype  tensor.Dtype
	inputs []hm.Type
	shapes []Shape // of the outputs
	needs  []bool  // whether an input needs a gradient
	b      *Builder
}

// Needs reports whether input i needs a gradient, because it depends on a trainable
// parameter.
func (c *Call) Needs(i int) bool { return c.needs[i] }

// Output returns the node of output i, always the same one.
func (c *Call) Output(i int, inputs ...*Node) *Node {
	n, err := gorgonia.ApplyOp(&Op{c, i}, inputs...)
	Check(err == nil, "%s: %v", c.Name(), err)
	return n
}

// Backward applies a kernel of the backward pass to inputs.
func (c *Call) Backward(k Kernel, outputs []Shape, inputs ...*Node) *Call {
	return c.b.call(k, nil, outputs, inputs)
}

// Output returns output i of the call that produced n.
func Output(n *Node, i int) *Node {
	return n.Op().(*Op).Output(i, children(n)...)
}

// Saved returns the node from which a gradient should read the forward value x: x itself,
// which keeps it in memory until then, or, if Builder.Recompute has the name of its
// kernel, a second computation of it.
func (c *Call) Saved(x *Node) *Node {
	o, ok := x.Op().(*Op)
	if !ok || !c.b.Recompute[o.Name()] {
		return x
	}
	if twin, ok := c.b.recomputed[x]; ok {
		return twin
	}
	in := children(x)
	for i := range in {
		in[i] = c.Saved(in[i])
	}
	twin := c.b.call(o.Kernel, nil, o.shapes, in).Output(o.index, in...)
	c.b.recomputed[x] = twin
	return twin
}

// children returns the inputs of n in order, duplicates included.
func children(n *Node) []*Node {
	var in []*Node
	for it := n.Graph().From(n.ID()); it.Next(); {
		in = append(in, it.Node().(*Node))
	}
	return in
}

// Op is one output of a call. It is our only implementation of gorgonia.Op.
type Op struct {
	*Call
	index int
}

var _ gorgonia.SDOp = (*Op)(nil)

// Type builds a new function type on every call, because Gorgonia puts it into a pool
// after use.
func (o *Op) Type() hm.Type {
	types := append(make([]hm.Type, 0, len(o.inputs)+1), o.inputs...)
	if s := o.shapes[o.index]; s.Dims() > 0 {
		types = append(types, gorgonia.TensorType{Dims: s.Dims(), Of: o.dtype})
	} else {
		types = append(types, o.dtype)
	}
	return hm.NewFnType(types...)
}

// Hashcode returns a hash that no other output has: Gorgonia merges nodes whose
// operations have equal hashes without comparing their inputs.
func (o *Op) Hashcode() uint32 { return o.id<<4 | uint32(o.index) }

// WriteHash writes Hashcode.
func (o *Op) WriteHash(h hash.Hash) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], o.Hashcode())
	h.Write(b[:])
}

// Arity returns the number of inputs.
func (o *Op) Arity() int { return len(o.inputs) }

// InferShape returns the shape that was given when the call was made.
func (o *Op) InferShape(...gorgonia.DimSizer) (Shape, error) { return o.shapes[o.index], nil }

// ReturnsPtr implements gorgonia.Op.
func (o *Op) ReturnsPtr() bool { return true }

// CallsExtern implements gorgonia.Op.
func (o *Op) CallsExtern() bool { return false }

// OverwritesInput implements gorgonia.Op: no kernel overwrites an input.
func (o *Op) OverwritesInput() int { return -1 }

func (o *Op) String() string { return fmt.Sprintf("%s#%d.%d", o.Name(), o.id, o.index) }

// DiffWRT returns for which inputs a gradient is needed. The answer is that of this call,
// so that frozen layers get no gradients.
func (o *Op) DiffWRT(inputs int) []bool {
	if _, ok := o.Kernel.(Differentiable); ok && o.index == 0 {
		return o.needs
	}
	return make([]bool, inputs)
}

// SymDiff adds the gradient of the call to the graph.
func (o *Op) SymDiff(in gorgonia.Nodes, out, dout *Node) (grads gorgonia.Nodes, err error) {
	defer Catch(&err)
	CheckContext(o.b.ctx)
	return o.Kernel.(Differentiable).Gradient(o.Call, in, out, dout), nil
}

// Interpreter runs a single kernel. It computes all outputs whose slice is not nil.
type Interpreter interface {
	Float32(k Kernel, out, in [][]float32) error
	Float64(k Kernel, out, in [][]float64) error
}

// Do computes this output with the builder's Interpreter. Only Gorgonia's own machines
// call it.
func (o *Op) Do(values ...gorgonia.Value) (gorgonia.Value, error) {
	if o.b.Interpreter == nil {
		return nil, fmt.Errorf("graph: %v: the builder has no interpreter", o)
	}
	if o.dtype == tensor.Float64 {
		return do(o, values, o.b.Interpreter.Float64, func(x float64) gorgonia.Value { return gorgonia.NewF64(x) })
	}
	return do(o, values, o.b.Interpreter.Float32, func(x float32) gorgonia.Value { return gorgonia.NewF32(x) })
}

func do[T float32 | float64](o *Op, values []gorgonia.Value, run func(Kernel, [][]T, [][]T) error, scalar func(T) gorgonia.Value) (gorgonia.Value, error) {
	in := make([][]T, len(values))
	for i, v := range values {
		switch d := v.Data().(type) {
		case []T:
			in[i] = d
		case T:
			in[i] = []T{d}
		default:
			return nil, fmt.Errorf("graph: %v: input %d is a %T", o, i, d)
		}
	}
	shape := o.shapes[o.index]
	out := make([][]T, len(o.shapes))
	out[o.index] = make([]T, elements(shape))
	if err := run(o.Kernel, out, in); err != nil {
		return nil, err
	}
	if shape.Dims() == 0 {
		return scalar(out[o.index][0]), nil
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(out[o.index])), nil
}

// elements returns the number of elements of a value, 1 for a scalar.
func elements(s Shape) int { return max(1, s.TotalSize()) }
