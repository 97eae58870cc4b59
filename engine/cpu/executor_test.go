package cpu

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"hatchery/engine/cpu/isa"
	"hatchery/engine/cpu/reference"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/engine/random"
)

// call is a kernel with the sizes of its inputs and outputs.
type call struct {
	kernel  graph.Kernel
	in, out []int
}

// calls has every kernel with tuned code, at sizes with and without remainders.
func calls() []call {
	var all []call
	add := func(k graph.Kernel, in, out []int) { all = append(all, call{k, in, out}) }
	for _, s := range [][3]int{{1, 1, 1}, {7, 5, 3}, {130, 48, 144}, {260, 200, 33}} {
		m, k, n := s[0], s[1], s[2]
		add(nn.LinearForward{M: m, K: k, N: n, Bias: true}, []int{m * k, n * k, n}, []int{m * n})
		add(nn.LinearForward{M: m, K: k, N: n}, []int{m * k, n * k}, []int{m * n})
		add(nn.LinearBackwardInput{M: m, K: k, N: n}, []int{m * n, n * k}, []int{m * k})
		add(nn.LinearBackwardWeight{M: m, K: k, N: n}, []int{m * n, m * k}, []int{n * k})
		add(nn.ColumnSum{M: m, N: n}, []int{m * n}, []int{n})
		add(nn.LayerNormForward{M: m, N: n, Eps: 1e-6}, []int{m * n, n, n}, []int{m * n, 2 * m})
		add(nn.LayerNormBackward{M: m, N: n}, []int{m * n, n, m * n, 2 * m}, []int{m * n, n, n})
	}
	for _, n := range []int{1, 100, 3*taskElements + 5} {
		add(graph.Add{N: n}, []int{n, n}, []int{n})
		add(nn.GELUForward{N: n}, []int{n}, []int{n})
		add(nn.GELUBackward{N: n}, []int{n, n}, []int{n})
	}
	for _, s := range [][4]int{{1, 1, 1, 1}, {3, 17, 2, 16}, {2, 65, 3, 20}, {1, queryBlock, 1, 8}, {2, 2*queryBlock + 1, 2, 45}} {
		b, n, h, d := s[0], s[1], s[2], s[3]
		x := b * n * h * d
		add(nn.AttentionForward{B: b, N: n, H: h, D: d}, []int{3 * x}, []int{x})
		add(nn.AttentionBackward{B: b, N: n, H: h, D: d}, []int{3 * x, x}, []int{3 * x})
	}
	for _, s := range [][3]int{{1, 1, 1}, {5, 16, 24}, {3, 700, 30}} {
		b, n, c := s[0], s[1], s[2]
		add(nn.TokensForward{B: b, N: n, C: c}, []int{b * n * c, c, (n + 1) * c}, []int{b * (n + 1) * c})
		add(nn.TokensBackward{B: b, N: n, C: c}, []int{b * (n + 1) * c}, []int{b * n * c, c, (n + 1) * c})
		add(nn.ClassTokenBackward{B: b, N: n, C: c}, []int{b * c}, []int{b * n * c})
		add(nn.ResidualForward{B: b, N: n * c}, []int{b * n * c, b * n * c}, []int{b * n * c})
		add(nn.ResidualForward{B: b, N: n * c, DropPath: true}, []int{b * n * c, b * n * c, b}, []int{b * n * c})
		add(nn.ScaleSamples{B: b, N: n * c}, []int{b * n * c, b}, []int{b * n * c})
	}
	add(nn.Patchify{B: 3, Channels: 3, Size: 12, Patch: 4}, []int{3 * 3 * 144}, []int{3 * 9 * 48})
	return all
}

// inputs of a call, in float64 but representable in float32.
func (c call) inputs() [][]float64 {
	in := make([][]float64, len(c.in))
	for i, n := range c.in {
		in[i] = make([]float64, n)
		s := random.New(5, c.kernel.Name(), uint64(i))
		for j := range in[i] {
			in[i][j] = float64(float32(s.NormFloat64()))
		}
	}
	return in
}

// fastOutputs computes the outputs with tuned code; those that skip says stay
// nil.
func (c call) fastOutputs(t *testing.T, pool *Pool, skip int) [][]float32 {
	t.Helper()
	var in, out [][]float32
	for _, x := range c.inputs() {
		f := make([]float32, len(x))
		for i, v := range x {
			f[i] = float32(v)
		}
		in = append(in, f)
	}
	for i, n := range c.out {
		var f []float32
		if i != skip {
			f = make([]float32, n)
			for j := range f {
				f[j] = float32(math.NaN()) // every element must be written
			}
		}
		out = append(out, f)
	}
	s := new(scratch)
	run, err := fast(c.kernel, out, in, pool, s)
	if err != nil {
		t.Fatal(err)
	}
	if run == nil {
		t.Fatalf("%T has no tuned code", c.kernel)
	}
	s.allocate()
	for i := range s.floats {
		s.floats[i] = float32(math.NaN()) // nor may scratch be taken for zero
	}
	run()
	return out
}

// TestFastAgainstReference compares tuned float32 code with plain float64.
func TestFastAgainstReference(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	worst := 0.0
	for _, c := range calls() {
		var want [][]float64
		for _, n := range c.out {
			want = append(want, make([]float64, n))
		}
		run, err := reference.Bind(c.kernel, want, c.inputs())
		if err != nil {
			t.Fatal(err)
		}
		run()
		for i, got := range c.fastOutputs(t, pool, -1) {
			var diff, norm float64
			for j, w := range want[i] {
				d := float64(got[j]) - w
				diff += d * d
				norm += w * w
			}
			e := math.Sqrt(diff / norm)
			if norm == 0 {
				e = math.Sqrt(diff)
			}
			worst = max(worst, e)
			if !(e <= 3e-6) {
				t.Errorf("%T%+v output %d: relative error %g", c.kernel, c.kernel, i, e)
			}
		}
	}
	t.Logf("worst relative error in norm: %.1e", worst)
}

// TestSameBits: neither the number of threads nor the instruction set changes a
// result, nor does leaving out another output.
func TestSameBits(t *testing.T) {
	type setting struct {
		threads int
		level   isa.Level
	}
	var settings []setting
	for level := isa.Go; level <= isa.Best(); level++ {
		for _, threads := range []int{1, 2, 7} {
			settings = append(settings, setting{threads, level})
		}
	}
	for _, c := range calls() {
		var want [][]float32
		for i, s := range settings {
			before, err := isa.Use(s.level)
			if err != nil {
				t.Fatal(err)
			}
			pool := NewPool(s.threads)
			for skip := -1; skip < len(c.out) && (skip < 0 || len(c.out) > 1); skip++ {
				got := c.fastOutputs(t, pool, skip)
				if i == 0 && skip < 0 {
					want = got
				}
				for o := range got {
					for j, x := range got[o] {
						if math.Float32bits(x) != math.Float32bits(want[o][j]) {
							t.Fatalf("%T%+v: %v with %d threads, without output %d: output %d[%d] is %v, want %v",
								c.kernel, c.kernel, s.level, s.threads, skip, o, j, x, want[o][j])
						}
					}
				}
			}
			pool.Close()
			if _, err := isa.Use(before); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPoolRunsEveryTaskOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		pool := NewPool(threads)
		for _, tasks := range []int{0, 1, 2, 3, 100} {
			var counts [100]atomic.Int32
			var busy [5]atomic.Int32
			pool.Run(tasks, func(worker, task int) {
				if busy[worker].Add(1) != 1 {
					t.Errorf("worker %d has two tasks at once", worker)
				}
				counts[task].Add(1)
				busy[worker].Add(-1)
			})
			for i := range counts {
				want := int32(0)
				if i < tasks {
					want = 1
				}
				if n := counts[i].Load(); n != want {
					t.Errorf("%d threads, %d tasks: task %d ran %d times", threads, tasks, i, n)
				}
			}
		}
		pool.Close()
	}
}

func TestCompileErrors(t *testing.T) {
	b := graph.NewBuilder(graph.Float32)
	x := b.Input("x", 4)
	plan, err := b.Plan(nn.GELU(b, x))
	if err != nil {
		t.Fatal(err)
	}
	pool := NewPool(1)
	defer pool.Close()
	_, err = Compile[float32](plan, pool, map[string][]float32{"x": make([]float32, 3)})
	if want := `cpu: "x" has 3 elements, the plan needs 4 (shape (4))`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err = Compile[float64](plan, pool, nil); err == nil {
		t.Error("a float32 plan was compiled in float64")
	}
}

// TestMeasure compares what a plan is said to take with what it takes, and runs
// another plan in the same place.
func TestMeasure(t *testing.T) {
	network := func(rows int) *graph.Plan {
		b := graph.NewBuilder(graph.Float32)
		x := b.Input("x", rows, 48)
		for i := range 3 {
			x = nn.GELU(b, nn.Linear(b, x, b.Input(fmt.Sprint("w", i), 48, 48), b.Input(fmt.Sprint("b", i), 48)))
		}
		plan, err := b.Plan(x)
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	bound := map[string][]float32{}
	for i := range 3 {
		w := make([]float32, 48*48)
		for j := range w {
			w[j] = float32(j%13)/13 - 0.4
		}
		bound[fmt.Sprint("w", i)], bound[fmt.Sprint("b", i)] = w, w[:48]
	}
	pool := NewPool(3)
	defer pool.Close()
	run := func(e *Executor[float32], plan *graph.Plan) []float32 {
		for _, v := range plan.Leaves() {
			if v.Name == "x" {
				for i := range e.storage[v] {
					e.storage[v][i] = float32(i%7) - 3
				}
			}
		}
		e.Run()
		return append([]float32{}, e.storage[plan.Values[len(plan.Values)-1]]...)
	}
	large, small := network(130), network(17)
	e, err := Compile(large, pool, bound)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Measure(large, 3, func(name string) bool { return bound[name] != nil })
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	for v, s := range e.storage {
		if v.Offset < 0 && bound[v.Name] == nil {
			values += len(s)
		}
	}
	want := Footprint{Arena: int64(4 * len(e.arena)), Values: int64(4 * values), Scratch: int64(4 * len(e.scratch.floats))}
	if got != want || got.Arena == 0 || got.Values != 2*4*130*48 || got.Scratch == 0 {
		t.Errorf("measured %+v, taken %+v", got, want)
	}
	alone, err := Compile(small, pool, bound)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := e.CompileShared(small, bound)
	if err != nil {
		t.Fatal(err)
	}
	if &beside.arena[0] != &e.arena[0] {
		t.Error("the smaller plan has an arena of its own")
	}
	want1, want2 := run(e, large), run(alone, small)
	for range 2 {
		for i, x := range run(beside, small) {
			if x != want2[i] {
				t.Fatalf("beside the other: output %d is %v, want %v", i, x, want2[i])
			}
		}
		for i, x := range run(e, large) {
			if x != want1[i] {
				t.Fatalf("after the other: output %d is %v, want %v", i, x, want1[i])
			}
		}
	}
	larger, err := alone.CompileShared(large, bound)
	if err != nil {
		t.Fatal(err)
	}
	if len(larger.arena) < large.Arena || len(alone.scratch.floats) < larger.scratch.need {
		t.Error("the larger plan has too little room")
	}
}
