package graph

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"hatchery/engine/arena"
)

// Value is the result of a node, or a leaf: an input, a parameter or a constant.
type Value struct {
	Name  string // of a leaf; empty otherwise
	Shape Shape
	// Leaf values are set by the caller before a run. Wanted values are read by the
	// caller after it. Both have their own storage; all others are in the arena.
	Leaf, Wanted bool
	Const        float64 // the value of a leaf without a name
	Offset       int     // in the arena, in elements; -1 for a value outside it

	first, last int // the step that writes it and the last step that reads it
}

// Elements returns the number of elements, which is 1 for a scalar.
func (v *Value) Elements() int { return elements(v.Shape) }

// Step is one call: it reads In and writes every output that is not nil.
type Step struct {
	Kernel  Kernel
	In, Out []*Value
}

// Plan contains all that an executor needs to run a graph: steps in order, over values
// with fixed offsets. It does not refer to the graph.
type Plan struct {
	DType  DType
	Steps  []Step
	Values []*Value // in order of definition
	Arena  int      // size of the arena, in elements
	Peak   int      // most elements that are alive at one step: a lower bound for Arena
	Naive  int      // elements needed if no values shared memory

	byNode []*Value // by the node's ID; nil if not needed
}

// Value returns the value of a node, or nil if the plan does not need it.
func (p *Plan) Value(n *Node) *Value {
	if n.ID() >= int64(len(p.byNode)) { // the node was made after the plan
		return nil
	}
	return p.byNode[n.ID()]
}

// Leaves returns the named inputs and parameters that the plan reads.
func (p *Plan) Leaves() []*Value {
	var leaves []*Value
	for _, v := range p.Values {
		if v.Leaf && v.Name != "" {
			leaves = append(leaves, v)
		}
	}
	return leaves
}

// Plan plans the computation of the wanted nodes. It leaves out everything on which they
// do not depend.
func (b *Builder) Plan(wanted ...*Node) (*Plan, error) {
	p := &Plan{DType: b.dtype, byNode: make([]*Value, len(b.graph.AllNodes()))}
	if err := p.order(reachable(wanted)); err != nil {
		return nil, err
	}
	for i, s := range p.Steps {
		for _, v := range s.In {
			v.last = max(v.last, i)
		}
	}
	for _, n := range wanted {
		p.byNode[n.ID()].Wanted = true
	}
	if err := p.verify(); err != nil {
		return nil, err
	}
	return p, p.place()
}

// Leaves returns the inputs and parameters on which nodes depend, in the order of their
// creation.
func Leaves(nodes ...*Node) []*Node {
	return slices.DeleteFunc(reachable(nodes), func(n *Node) bool { return n.Op() != nil })
}

// reachable returns the given nodes and all nodes on which they depend, in an execution
// order: a node is made after its inputs, so ascending IDs are one.
func reachable(from []*Node) []*Node {
	if len(from) == 0 {
		return nil
	}
	seen := make([]bool, len(from[0].Graph().AllNodes())) // by ID
	var out []*Node
	for stack := slices.Clone(from); len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n.ID()] {
			continue
		}
		seen[n.ID()] = true
		out = append(out, n)
		stack = append(stack, children(n)...)
	}
	slices.SortFunc(out, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	return out
}

// order creates the values and the steps.
func (p *Plan) order(nodes []*Node) error {
	steps := map[*Call]int{}
	for _, n := range nodes {
		v := &Value{Shape: n.Shape(), Offset: -1, first: -1, last: -1}
		p.byNode[n.ID()] = v
		p.Values = append(p.Values, v)
		var in []*Value
		for _, c := range children(n) {
			in = append(in, p.byNode[c.ID()])
		}
		switch o := n.Op().(type) {
		case nil:
			v.Leaf, v.Name = true, n.Name()
		case *Op:
			i, ok := steps[o.Call]
			if !ok {
				i = len(p.Steps)
				steps[o.Call] = i
				p.Steps = append(p.Steps, Step{o.Kernel, in, make([]*Value, len(o.shapes))})
			}
			p.Steps[i].Out[o.index] = v
			v.first = i
		default:
			switch {
			case o.Arity() == 0:
				v.Leaf = true
				switch c := n.Value().Data().(type) {
				case float32:
					v.Const = float64(c)
				case float64:
					v.Const = c
				default:
					return fmt.Errorf("graph: constant %v is a %T", n, c)
				}
			case isGorgoniaAdd(o):
				v.first = len(p.Steps)
				p.Steps = append(p.Steps, Step{Add{v.Elements()}, in, []*Value{v}})
			default:
				return fmt.Errorf("graph: no kernel for %T %v", o, o)
			}
		}
	}
	return nil
}

// Add is y = a + b over N elements. It replaces the additions that Gorgonia inserts where
// gradients meet.
type Add struct{ N int }

// Name implements Kernel.
func (Add) Name() string { return "add" }

// isGorgoniaAdd reports whether o is such an addition. Gorgonia does not export its type.
func isGorgoniaAdd(o gorgonia.Op) bool {
	_, ok := o.(gorgonia.BinaryOp)
	return ok && fmt.Sprint(o) == "+ false"
}

// align puts every value at the start of a cache line, in elements of four bytes.
const align = 16

// place gives every value its offset in the arena and checks that no two values that are
// alive together share memory.
func (p *Plan) place() error {
	var values []*Value
	var lives []arena.Value
	change := make([]int, len(p.Steps)+1)
	for _, v := range p.Values {
		if v.Leaf || v.Wanted {
			continue
		}
		n, end := v.Elements(), max(v.first, v.last)
		values = append(values, v)
		lives = append(lives, arena.Value{First: v.first, Last: end, Size: int64(n)})
		p.Naive += n
		change[v.first] += n
		change[end+1] -= n
	}
	p.Arena = int(arena.Place(lives, align))
	if _, j, ok := arena.Conflict(lives); ok {
		return fmt.Errorf("graph: two values at step %d (%s) share memory", lives[j].First, p.Steps[lives[j].First].Kernel.Name())
	}
	for i, v := range values {
		v.Offset = int(lives[i].Offset)
	}
	alive := 0
	for _, c := range change {
		alive += c
		p.Peak = max(p.Peak, alive)
	}
	return nil
}

// verify checks that every step reads only values that were written before it.
func (p *Plan) verify() error {
	for i, s := range p.Steps {
		for _, v := range s.In {
			if !v.Leaf && v.first >= i {
				return fmt.Errorf("graph: step %d (%s) reads what step %d writes", i, s.Kernel.Name(), v.first)
			}
		}
	}
	return nil
}
