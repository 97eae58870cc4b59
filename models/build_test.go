package models_test

import (
	"math"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/engine/random"
	"hatchery/models"
)

// small is a network on which float64 finite differences are quick.
var small = models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 12, Depth: 4, Heads: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 5}

func division(t *testing.T, v models.ViT, k, metaDepth int, split ...int) models.Division {
	t.Helper()
	d, err := models.NewDivision(v, k, split, metaDepth)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fillLeaf sets the values of a leaf, which depend only on its name.
func fillLeaf[T float32 | float64](name string, data []T) {
	s := random.New(2, name)
	for i := range data {
		x := s.NormFloat64()
		switch {
		case strings.HasPrefix(name, "drop_path/"):
			data[i] = T(1.25 * float64(i%2))
		case name == "targets":
			data[i] = T(math.Abs(x))
		case name == "images":
			data[i] = T(x)
		case strings.Contains(name, "norm") && strings.HasSuffix(name, "weight"):
			data[i] = T(1 + 0.3*x)
		default:
			data[i] = T(0.3 * x)
		}
	}
}

func compile[T float32 | float64](t *testing.T, g *models.Graph, wanted ...*graph.Node) (*graph.Plan, *cpu.Executor[T]) {
	t.Helper()
	plan, err := g.Plan(wanted...)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(2)
	t.Cleanup(pool.Close)
	e, err := cpu.Compile[T](plan, pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range plan.Leaves() {
		fillLeaf(v.Name, e.Data(g.Leaf(v.Name)))
	}
	return plan, e
}

func train(t *testing.T, o models.BuildOptions, networks ...models.Network) (*models.Graph, []*graph.Node) {
	t.Helper()
	g, err := models.BuildTraining(t.Context(), networks, o)
	if err != nil {
		t.Fatal(err)
	}
	grads, err := g.Gradients(t.Context(), g.Loss)
	if err != nil {
		t.Fatal(err)
	}
	return g, grads
}

// TestHybridGradients checks every parameter of a whole hybrid network against
// float64 central differences.
func TestHybridGradients(t *testing.T) {
	d := division(t, small, 2, 1)
	for i := 1; i <= 2; i++ {
		g, grads := train(t, models.BuildOptions{Batch: 3, DType: graph.Float64, DropPath: 0.2}, d.Hybrid(i))
		_, e := compile[float64](t, g, append([]*graph.Node{g.Loss}, grads...)...)
		e.Run()
		worst := 0.0
		analytic := make([][]float64, len(grads))
		for j, n := range grads {
			analytic[j] = append(analytic[j], e.Data(n)...)
		}
		for j, p := range g.Params() {
			x, largest := e.Data(p), 0.0
			for _, v := range analytic[j] {
				largest = max(largest, math.Abs(v))
			}
			if largest == 0 {
				t.Errorf("hybrid %d: %s has no gradient", i, p.Name())
			}
			for n := 0; n < len(x); n += 1 + len(x)/40 {
				old := x[n]
				loss := func(h float64) float64 { x[n] = old + h; e.Run(); return e.Data(g.Loss)[0] }
				const h = 1e-3
				numeric := (8*(loss(h)-loss(-h)) - (loss(2*h) - loss(-2*h))) / (12 * h)
				x[n] = old
				worst = max(worst, math.Abs(numeric-analytic[j][n])/largest)
			}
		}
		t.Logf("hybrid %d: %d parameters, worst error %.1e", i, len(grads), worst)
		if !(worst <= 1e-6) {
			t.Errorf("hybrid %d: worst error %g of a parameter's largest gradient", i, worst)
		}
	}
}

// TestPlanEqualsTapeMachine compares a plan with Gorgonia's own machine.
func TestPlanEqualsTapeMachine(t *testing.T) {
	pool := cpu.NewPool(1)
	defer pool.Close()
	d := division(t, small, 2, 1)
	for _, recompute := range []map[string]bool{nil, {"layer_norm": true, "gelu": true, "linear": true, "attention": true}} {
		o := models.BuildOptions{Batch: 3, DropPath: 0.2, Interpreter: cpu.Interpreter{Pool: pool}, Recompute: recompute}
		g, grads := train(t, o, d.Hybrid(2), d.Hybrid(1))
		wanted := append([]*graph.Node{g.Loss}, grads...)
		plan, e := compile[float32](t, g, wanted...)
		for _, v := range plan.Leaves() {
			n := g.Leaf(v.Name)
			if err := gorgonia.Let(n, tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(append([]float32(nil), e.Data(n)...)))); err != nil {
				t.Fatal(err)
			}
		}
		machine := gorgonia.NewTapeMachine(g.Graph())
		defer machine.Close()
		if err := machine.RunAll(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a second run must not depend on the first
			e.Run()
			for i, n := range wanted {
				want, ok := n.Value().Data().([]float32)
				if !ok {
					want = []float32{n.Value().Data().(float32)}
				}
				for j, got := range e.Data(n) {
					if got != want[j] {
						t.Fatalf("recompute %v: wanted node %d, element %d: plan %v, tape machine %v", recompute, i, j, got, want[j])
					}
				}
			}
		}
	}
}

// TestOnlyNeededNodes checks that a hybrid network computes no gradients of frozen
// parameters, no backward pass before the target module, and the shared meta prefix once.
func TestOnlyNeededNodes(t *testing.T) {
	v := small
	v.Depth = 8
	d := division(t, v, 4, 1)
	count := func(networks ...models.Network) map[string]int {
		g, grads := train(t, models.BuildOptions{Batch: 2}, networks...)
		plan, err := g.Plan(append([]*graph.Node{g.Loss}, grads...)...)
		if err != nil {
			t.Fatal(err)
		}
		steps := map[string]int{}
		for _, s := range plan.Steps {
			steps[s.Kernel.Name()]++
		}
		return steps
	}
	third := count(d.Hybrid(3)) // two meta blocks, two target blocks, one meta block
	for kernel, want := range map[string]int{
		"attention":           5,
		"attention_backward":  3,       // two of the target, one after it
		"linear_dw":           2 * 4,   // the target's alone
		"column_sum":          2 * 4,   // likewise
		"linear_dx":           3*4 + 1, // the target's first norm needs its own gradient
		"layer_norm_backward": 3*2 + 1, // the target's first for its own parameters
	} {
		if third[kernel] != want {
			t.Errorf("hybrid 3: %d steps of %s, want %d", third[kernel], kernel, want)
		}
	}
	all := count(d.Hybrid(1), d.Hybrid(2), d.Hybrid(3), d.Hybrid(4))
	// Prefix: 3 meta blocks once. Hybrid i: 2 target blocks and 4-i meta blocks.
	if want := 3 + 4*2 + 3 + 2 + 1; all["attention"] != want {
		t.Errorf("four hybrids together: %d attention steps, want %d", all["attention"], want)
	}
}

// TestSharingInUnevenSplits checks that, with drop path, only hybrids of equal depth share
// a meta block, since its rate depends on the depth.
func TestSharingInUnevenSplits(t *testing.T) {
	v := small
	v.Depth = 5
	for _, c := range []struct {
		split []int
		rate  float64
		want  int // attention steps of meta block 1 in hybrids 3 and 4
	}{
		{[]int{2, 1, 1, 1}, 0.3, 1},
		{[]int{1, 1, 2, 1}, 0.3, 2},
		{[]int{1, 1, 2, 1}, 0, 1},
	} {
		d := division(t, v, 4, 1, c.split...)
		g, err := models.BuildTraining(t.Context(), []models.Network{d.Hybrid(3), d.Hybrid(4)}, models.BuildOptions{Batch: 2, DropPath: c.rate})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := g.Plan(g.Loss)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for _, s := range plan.Steps {
			if s.Kernel.Name() == "linear" && s.In[1].Name == "meta/blocks.1.attn.qkv.weight" {
				steps++
			}
		}
		if steps != c.want {
			t.Errorf("split %v, rate %g: meta block 1 is computed %d times, want %d", c.split, c.rate, steps, c.want)
		}
	}
}

// TestDropPathRates checks that the rate rises linearly from 0, or is the same in every
// layer.
func TestDropPathRates(t *testing.T) {
	d := division(t, small, 2, 1) // of depth 4
	for _, c := range []struct {
		network models.Network
		uniform bool
		want    []float64 // per layer, with two branches each; layers with rate 0 have none
	}{
		{d.TargetNet(), false, []float64{0.2, 0.4, 0.6}},
		{d.TargetNet(), true, []float64{0.6, 0.6, 0.6, 0.6}},
		{d.Hybrid(2), true, []float64{0.6, 0.6, 0.6}},
	} {
		g, err := models.BuildTraining(t.Context(), []models.Network{c.network}, models.BuildOptions{Batch: 2, DropPath: 0.6, Uniform: c.uniform})
		if err != nil {
			t.Fatal(err)
		}
		if len(g.DropPaths) != 2*len(c.want) {
			t.Fatalf("uniform %t: %d branches drop, want %d", c.uniform, len(g.DropPaths), 2*len(c.want))
		}
		for i, p := range g.DropPaths {
			if want := c.want[i/2]; math.Abs(p.Rate-want) > 1e-12 {
				t.Errorf("uniform %t: branch %d drops at %v, want %v", c.uniform, i, p.Rate, want)
			}
		}
	}
}
