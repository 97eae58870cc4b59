package graph

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"
)

// Builder makes the nodes of one graph.
//
// Its methods panic with a [BuildError] if the shapes of a network do not match. The
// function that builds a whole network turns the panic into an error with [Catch].
type Builder struct {
	// Recompute names the kernels whose outputs the backward pass computes again,
	// so that they need not stay in memory.
	Recompute map[string]bool
	// Interpreter lets Gorgonia's TapeMachine run the graph.
	Interpreter Interpreter

	graph      *gorgonia.ExprGraph
	index      index
	dtype      DType
	params     []*Node
	leaves     map[string]*Node
	depends    map[*Node]bool // whether a node depends on a trainable parameter
	recomputed map[*Node]*Node
	calls      uint32
	ctx        context.Context // of the running call of Gradients
}

// BuildError is the reason why a network cannot be built.
type BuildError struct{ Reason string }

func (e BuildError) Error() string { return "graph: " + e.Reason }

// stopped is the panic value of CheckContext.
type stopped struct{ error }

// Catch is to be deferred. It recovers from a panic of Check or CheckContext and stores
// the error in *err.
func Catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case BuildError:
		*err = r
	case stopped:
		*err = r.error
	default:
		panic(r)
	}
}

// Check panics with a BuildError unless ok.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic(BuildError{fmt.Sprintf(format, args...)})
	}
}

// CheckContext panics if ctx is done. Catch turns the panic into the error of ctx.
func CheckContext(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		panic(stopped{err})
	}
}

// NewBuilder returns a builder of an empty graph.
func NewBuilder(dtype DType) *Builder {
	g := gorgonia.NewGraph()
	return &Builder{
		graph: g, index: newIndex(g), dtype: dtype,
		leaves: map[string]*Node{}, depends: map[*Node]bool{}, recomputed: map[*Node]*Node{},
	}
}

// Graph returns the expression graph, for Gorgonia's own machines.
func (b *Builder) Graph() *gorgonia.ExprGraph { return b.graph }

// Params returns the trainable parameters in the order of their creation.
func (b *Builder) Params() []*Node { return b.params }

// Input makes an input that is not differentiated: data, or a frozen parameter. The name
// must be unique in the graph.
func (b *Builder) Input(name string, shape ...int) *Node {
	Check(b.leaves[name] == nil, "two inputs are named %q", name)
	for _, d := range shape {
		Check(d > 0, "input %q has shape %v", name, shape)
	}
	b.index.grow(len(b.graph.AllNodes()))
	n := gorgonia.NewTensor(b.graph, b.dtype.tensor(), len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name))
	b.leaves[name] = n
	return n
}

// Param makes a trainable parameter.
func (b *Builder) Param(name string, shape ...int) *Node {
	n := b.Input(name, shape...)
	b.params = append(b.params, n)
	b.depends[n] = true
	return n
}

// Leaf returns the input or parameter of that name, or nil.
func (b *Builder) Leaf(name string) *Node { return b.leaves[name] }

// Apply applies k to inputs and returns its output 0. differentiable tells for which
// inputs the kernel has a gradient.
func (b *Builder) Apply(k Kernel, outputs []Shape, differentiable []bool, inputs ...*Node) *Node {
	needs := make([]bool, len(inputs))
	depends := false
	for i, n := range inputs {
		needs[i] = differentiable[i] && b.depends[n]
		depends = depends || needs[i]
	}
	out := b.call(k, needs, outputs, inputs).Output(0, inputs...)
	b.depends[out] = depends
	return out
}

func (b *Builder) call(k Kernel, needs []bool, outputs []Shape, inputs []*Node) *Call {
	Check(len(inputs) > 0, "%s: a kernel needs an input", k.Name())
	if needs == nil {
		needs = make([]bool, len(inputs))
	}
	b.index.grow(len(b.graph.AllNodes()))
	b.calls++
	c := &Call{Kernel: k, id: b.calls, dtype: b.dtype.tensor(), shapes: outputs, needs: needs, b: b}
	for _, n := range inputs {
		c.inputs = append(c.inputs, n.Type())
	}
	return c
}

// Gradients differentiates the scalar loss with respect to every trainable parameter and
// returns the gradients in the order of Params. It can be called only once for a graph.
func (b *Builder) Gradients(ctx context.Context, loss *Node) (grads []*Node, err error) {
	defer Catch(&err)
	b.ctx = ctx
	grads, err = gorgonia.Grad(loss, b.params...)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("graph: differentiate: %w", err)
	}
	return grads, nil
}
