// Package cpu runs plans of package graph on the CPU: in float32 for training, in float64
// (with the simple code of package reference) for gradient checks.
//
// Results do not depend on the number of threads.
package cpu

import (
	"fmt"

	"hatchery/engine/cpu/reference"
	"hatchery/engine/graph"
)

// Executor runs one plan with memory that was allocated in advance.
type Executor[T reference.Float] struct {
	plan    *graph.Plan
	pool    *Pool
	steps   []func()
	storage map[*graph.Value][]T
	arena   []T
	scratch *scratch
}

// Compile allocates the storage of a plan and binds every step to it. A leaf whose name
// is in bound uses that slice as its storage, so that several plans can share parameters;
// the slice must have the right length. Executors that do not run at the same time may
// share a pool.
func Compile[T reference.Float](plan *graph.Plan, pool *Pool, bound map[string][]T) (*Executor[T], error) {
	return compile(plan, pool, bound, nil, new(scratch))
}

// CompileShared is like Compile, for a plan that never runs at the same time as e. Both
// executors use the arena and scratch memory of e. This is safe because no run reads what
// an earlier run left there.
func (e *Executor[T]) CompileShared(plan *graph.Plan, bound map[string][]T) (*Executor[T], error) {
	return compile(plan, e.pool, bound, e.arena, e.scratch)
}

// compile is Compile with memory to use. It allocates a new arena if arena is too small.
func compile[T reference.Float](plan *graph.Plan, pool *Pool, bound map[string][]T, arena []T, s *scratch) (*Executor[T], error) {
	if _, is64 := any(T(0)).(float64); is64 != (plan.DType == graph.Float64) {
		return nil, fmt.Errorf("cpu: the plan does not compute in %T", T(0))
	}
	if len(arena) < plan.Arena {
		arena = make([]T, plan.Arena)
	}
	e := &Executor[T]{plan: plan, pool: pool, storage: map[*graph.Value][]T{}, arena: arena, scratch: s}
	for _, v := range plan.Values {
		n := v.Elements()
		if b, ok := bound[v.Name]; ok && v.Leaf && v.Name != "" {
			if len(b) != n {
				return nil, fmt.Errorf("cpu: %q has %d elements, the plan needs %d (shape %v)", v.Name, len(b), n, v.Shape)
			}
			e.storage[v] = b
			continue
		}
		if v.Offset >= 0 {
			e.storage[v] = arena[v.Offset:][:n:n]
			continue
		}
		s := make([]T, n)
		if v.Leaf && v.Name == "" {
			for i := range s {
				s[i] = T(v.Const)
			}
		}
		e.storage[v] = s
	}
	for i, step := range plan.Steps {
		run, err := bind(step.Kernel, e.slices(step.Out), e.slices(step.In), pool, s)
		if err != nil {
			return nil, fmt.Errorf("cpu: step %d: %w", i, err)
		}
		e.steps = append(e.steps, run)
	}
	s.allocate()
	return e, nil
}

// Footprint is the memory of an executor, in bytes.
type Footprint struct {
	Arena   int64 // values that exist only during a run
	Values  int64 // leaves that are not bound, and wanted values
	Scratch int64 // working space within single steps
}

// Measure returns the memory that Compile would allocate for a float32 plan with the
// given number of threads, without allocating it. bound reports whether a leaf would be
// bound.
func Measure(plan *graph.Plan, threads int, bound func(name string) bool) (f Footprint, err error) {
	const size = 4 // bytes of a float32
	f.Arena = size * int64(plan.Arena)
	for _, v := range plan.Values {
		if v.Offset < 0 && !(v.Leaf && v.Name != "" && bound(v.Name)) {
			f.Values += size * int64(v.Elements())
		}
	}
	// These steps are never run, so they need neither operands nor running workers.
	idle, s := &Pool{workers: make([]worker, threads-1)}, new(scratch)
	for i, step := range plan.Steps {
		if _, err := bind(step.Kernel, make([][]float32, len(step.Out)), make([][]float32, len(step.In)), idle, s); err != nil {
			return f, fmt.Errorf("cpu: step %d: %w", i, err)
		}
	}
	f.Scratch = size * int64(s.need)
	return f, nil
}

func (e *Executor[T]) slices(values []*graph.Value) [][]T {
	s := make([][]T, len(values))
	for i, v := range values {
		if v != nil {
			s[i] = e.storage[v]
		}
	}
	return s
}

// Data returns the storage of a leaf, to be filled before Run, or of a wanted node, to be
// read after Run. It returns nil for other nodes.
func (e *Executor[T]) Data(n *graph.Node) []T {
	v := e.plan.Value(n)
	if v == nil || !v.Leaf && !v.Wanted {
		return nil
	}
	return e.storage[v]
}

// Run runs every step once. It allocates nothing.
func (e *Executor[T]) Run() {
	for _, step := range e.steps {
		step()
	}
}

// bind returns a function that runs k on out and in.
func bind[T reference.Float](k graph.Kernel, out, in [][]T, pool *Pool, s *scratch) (func(), error) {
	if out32, ok := any(out).([][]float32); ok {
		run, err := fast(k, out32, any(in).([][]float32), pool, s)
		if run != nil || err != nil {
			return run, err
		}
	}
	return reference.Bind(k, out, in)
}

// Interpreter runs single kernels with the code of an executor, so that Gorgonia's
// TapeMachine can run a graph.
type Interpreter struct{ Pool *Pool }

var _ graph.Interpreter = Interpreter{}

// Float32 implements graph.Interpreter.
func (i Interpreter) Float32(k graph.Kernel, out, in [][]float32) error {
	return interpret(k, out, in, i.Pool)
}

// Float64 implements graph.Interpreter.
func (i Interpreter) Float64(k graph.Kernel, out, in [][]float64) error {
	return interpret(k, out, in, i.Pool)
}

func interpret[T reference.Float](k graph.Kernel, out, in [][]T, pool *Pool) error {
	s := new(scratch)
	run, err := bind(k, out, in, pool, s)
	if err == nil {
		s.allocate()
		run()
	}
	return err
}
