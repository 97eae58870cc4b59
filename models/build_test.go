package models

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/engine/random"
)

// small is a ViT for float64 on plain code: 5 tokens of width 6.
func small(depth int) ViT {
	return ViT{Image: 4, Channels: 2, Patch: 2, Width: 6, Depth: depth, Heads: 2,
		MLPRatio: 1.5, QKVBias: true, NormEps: 1e-6, Classes: 3}
}

func divide(t *testing.T, v ViT, metaDepth int, split ...int) Division {
	t.Helper()
	d, err := NewDivision(v, len(split), split, metaDepth)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// built is one graph with its plan and storage.
type built struct {
	*Graph
	b     *graph.Builder
	plan  *graph.Plan
	e     *cpu.Executor[float64]
	want  []*graph.Node
	grads map[string]*graph.Node
}

const smallBatch = 3

// build makes the graph of what f adds. With train, the sum of what f returns
// is differentiated.
func build(t *testing.T, v ViT, train bool, f func(g *Graph) []*graph.Node) *built {
	t.Helper()
	x := &built{b: graph.NewBuilder(graph.Float64), grads: map[string]*graph.Node{}}
	var err error
	if x.Graph, err = NewGraph(x.b, v, smallBatch); err != nil {
		t.Fatal(err)
	}
	x.want = f(x.Graph)
	wanted := slices.Clone(x.want)
	if train {
		total := nn.Total(x.b, x.want...)
		grads, err := x.b.Gradients(total)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range x.b.Params() {
			x.grads[p.Name()] = grads[i]
		}
		wanted = append(wanted, grads...)
	}
	if x.plan, err = x.b.Plan(wanted...); err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(1)
	t.Cleanup(pool.Close)
	if x.e, err = cpu.Compile[float64](x.plan, pool, nil); err != nil {
		t.Fatal(err)
	}
	for _, v := range x.plan.Leaves() {
		data, s := x.e.Data(x.b.Leaf(v.Name)), random.New(5, v.Name)
		for i := range data {
			data[i] = 0.5 * s.NormFloat64()
			if strings.Contains(v.Name, "norm") && strings.HasSuffix(v.Name, "weight") {
				data[i]++
			}
		}
	}
	// Soft targets: one class has 3/4, the next 1/4.
	if targets := x.e.Data(x.Targets); targets != nil {
		clear(targets)
		for i := range smallBatch {
			targets[i*v.Classes+i%v.Classes] = 0.75
			targets[i*v.Classes+(i+1)%v.Classes] = 0.25
		}
	}
	for _, d := range x.Drops {
		data, s := x.e.Data(d.Node), random.New(5, "drop "+string(d.Owner), uint64(d.Block), uint64(d.Branch))
		for i := range data {
			data[i] = 0
			if s.Float64() < 0.7 {
				data[i] = 1 / (1 - d.Rate)
			}
		}
	}
	x.e.Run()
	return x
}

func must(t *testing.T) func(n *graph.Node, err error) *graph.Node {
	return func(n *graph.Node, err error) *graph.Node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// Finite differences of whole networks, for every element of every trained
// parameter.
func TestNetworkGradients(t *testing.T) {
	d := divide(t, small(5), 1, 2, 2, 1)
	networks := map[string]func(g *Graph) (*graph.Node, error){
		"target": func(g *Graph) (*graph.Node, error) { return g.Loss(d.TargetNet(), 0.3) },
		"meta":   func(g *Graph) (*graph.Node, error) { return g.Loss(d.MetaNet(), 0) },
	}
	for i := 1; i <= d.K(); i++ {
		networks[fmt.Sprintf("hybrid %d", i)] = func(g *Graph) (*graph.Node, error) { return g.Loss(d.Hybrid(i), 0.3) }
		networks[fmt.Sprintf("imitation %d", i)] = func(g *Graph) (*graph.Node, error) { return g.Imitate(d, i, 0.3) }
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		t.Run(name, func(t *testing.T) {
			x := build(t, d.Target, true, func(g *Graph) []*graph.Node {
				return []*graph.Node{must(t)(networks[name](g))}
			})
			analytic := map[string][]float64{}
			for leaf, g := range x.grads {
				analytic[leaf] = slices.Clone(x.e.Data(g))
			}
			worst := 0.0
			for leaf, grad := range analytic {
				data, largest := x.e.Data(x.b.Leaf(leaf)), 0.0
				for _, g := range grad {
					largest = max(largest, math.Abs(g))
				}
				if largest == 0 {
					t.Errorf("%s: the gradient is zero", leaf)
				}
				for j, old := range data {
					at := func(h float64) float64 {
						data[j] = old + h
						x.e.Run()
						return x.e.Data(x.want[0])[0]
					}
					const h = 1e-4
					numeric := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
					data[j] = old
					off := math.Abs(numeric-grad[j]) / largest
					worst = max(worst, off)
					if !(off <= 1e-6) {
						t.Fatalf("%s[%d]: analytic %g, numeric %g", leaf, j, grad[j], numeric)
					}
				}
			}
			t.Logf("worst error %.1e of a parameter's largest gradient", worst)
		})
	}
}

// Modules incubated together have the losses and gradients that they have
// alone, to the last bit, and the beginning that they share is computed once.
func TestTogetherIsAlone(t *testing.T) {
	for _, c := range []struct {
		name     string
		split    []int
		rate     float64
		blocks   int // applied in the graph of all hybrids
		imitated int // in that of all imitations
	}{
		// Hybrids: prefixes of 0, 1 and 2 meta blocks shared, 2+2+2 target
		// blocks, 2+1+0 meta blocks behind. Imitations: the meta model once.
		{"even", []int{2, 2, 2}, 0, 2 + 6 + 3, 3 + 6},
		{"even, drop path", []int{2, 2, 2}, 0.3, 2 + 6 + 3, 3 + 6},
		{"uneven", []int{1, 2, 3}, 0, 2 + 6 + 3, 3 + 6},
		// Hybrids 3 and 4 have depths 5 and 6, so that block 1 of the meta
		// model drops at two rates; block 0 never drops.
		{"uneven, drop path", []int{1, 1, 2, 3}, 0.3, (1 + 2 + 1) + 7 + (3 + 2 + 1), 4 + 7},
	} {
		depth := 0
		for _, n := range c.split {
			depth += n
		}
		d := divide(t, small(depth), 1, c.split...)
		for method, loss := range map[string]func(g *Graph, i int) (*graph.Node, error){
			"hybrid":    func(g *Graph, i int) (*graph.Node, error) { return g.Loss(d.Hybrid(i), c.rate) },
			"imitation": func(g *Graph, i int) (*graph.Node, error) { return g.Imitate(d, i, c.rate) },
		} {
			t.Run(c.name+"/"+method, func(t *testing.T) {
				together := build(t, d.Target, true, func(g *Graph) (losses []*graph.Node) {
					for i := 1; i <= d.K(); i++ {
						losses = append(losses, must(t)(loss(g, i)))
					}
					return losses
				})
				trained := 0
				for i := 1; i <= d.K(); i++ {
					alone := build(t, d.Target, true, func(g *Graph) []*graph.Node { return []*graph.Node{must(t)(loss(g, i))} })
					if a, b := alone.e.Data(alone.want[0])[0], together.e.Data(together.want[i-1])[0]; a != b {
						t.Errorf("module %d: loss %v alone, %v together", i, a, b)
					}
					for leaf, g := range alone.grads {
						if !slices.Equal(alone.e.Data(g), together.e.Data(together.grads[leaf])) {
							t.Errorf("%s: the gradients alone and together differ", leaf)
						}
					}
					var want []string
					for _, p := range d.ModuleParams(i) {
						want = append(want, "target/"+p.Name)
					}
					if got := slices.Sorted(maps.Keys(alone.grads)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
						t.Errorf("module %d trains %v, not %v", i, got, want)
					}
					trained += len(alone.grads)
				}
				if trained != len(together.grads) {
					t.Errorf("%d parameters train together, %d alone", len(together.grads), trained)
				}
				want := c.blocks
				if method == "imitation" {
					want = c.imitated
				}
				if got := count(together.plan, "attention"); got != want {
					t.Errorf("%d blocks are computed, want %d", got, want)
				}
			})
		}
	}
}

func count(p *graph.Plan, kernel string) (n int) {
	for _, s := range p.Steps {
		if s.Kernel.Name() == kernel {
			n++
		}
	}
	return n
}

// The nodes that a target module does not need are never made.
func TestNoGradientsOfWhatIsFrozen(t *testing.T) {
	d := divide(t, small(6), 1, 1, 2, 3)
	for i, want := range []map[string]int{
		// Module 1 brings the stem; behind it 2 meta blocks and the head.
		{"linear_dw": 1 + 4*1, "linear_dx": 4*3 + 1, "attention_backward": 3, "tokens_backward": 3},
		// One meta block before the module, one behind it.
		{"linear_dw": 4 * 2, "linear_dx": 4*3 + 1, "attention_backward": 3, "tokens_backward": 0},
		// Module 3 brings the head; its first block's norm1 is the last node.
		{"linear_dw": 4*3 + 1, "linear_dx": 4*3 + 1, "attention_backward": 3, "tokens_backward": 0},
	} {
		x := build(t, d.Target, true, func(g *Graph) []*graph.Node {
			return []*graph.Node{must(t)(g.Loss(d.Hybrid(i+1), 0.1))}
		})
		made := map[string]int{}
		for _, n := range x.b.Graph().AllNodes() {
			if o, ok := n.Op().(*graph.Op); ok {
				made[o.Name()]++
			}
		}
		for kernel, n := range want {
			if made[kernel] != n {
				t.Errorf("hybrid %d: %d nodes of %s, want %d", i+1, made[kernel], kernel, n)
			}
		}
	}
	x := build(t, d.Target, false, func(g *Graph) []*graph.Node {
		loss, correct, err := g.Evaluate(d.TargetNet())
		if err != nil {
			t.Fatal(err)
		}
		return []*graph.Node{loss, correct}
	})
	for _, s := range x.plan.Steps {
		if strings.Contains(s.Kernel.Name(), "backward") || strings.HasPrefix(s.Kernel.Name(), "linear_d") {
			t.Errorf("evaluation has a step %s", s.Kernel.Name())
		}
	}
	if len(x.b.Params()) != 0 || len(x.Drops) != 0 {
		t.Errorf("evaluation has %d parameters to train and %d drop path inputs", len(x.b.Params()), len(x.Drops))
	}
}

func TestDrops(t *testing.T) {
	d := divide(t, small(4), 1, 2, 2)
	x := build(t, d.Target, true, func(g *Graph) []*graph.Node {
		return []*graph.Node{must(t)(g.Loss(d.Hybrid(1), 0.2)), must(t)(g.Loss(d.Hybrid(2), 0.2))}
	})
	var got []string
	for _, dr := range x.Drops {
		if !dr.Node.Shape().Eq(graph.Shape{smallBatch}) {
			t.Errorf("%v has shape %v", dr, dr.Node.Shape())
		}
		got = append(got, fmt.Sprintf("%s %d.%d %.2f", dr.Owner, dr.Block, dr.Branch, dr.Rate))
	}
	// Depth 3, so rates 0, 0.1, 0.2.
	want := []string{
		"target 1.0 0.10", "target 1.1 0.10", "meta 1.0 0.20", "meta 1.1 0.20",
		"target 2.0 0.10", "target 2.1 0.10", "target 3.0 0.20", "target 3.1 0.20",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if r := rate(0.5, 0, 1); r != 0 {
		t.Errorf("a single block drops at %v", r)
	}
}

// Evaluation grades what training computes.
func TestEvaluate(t *testing.T) {
	d := divide(t, small(4), 1, 2, 2)
	train := build(t, d.Target, true, func(g *Graph) []*graph.Node { return []*graph.Node{must(t)(g.Loss(d.Hybrid(2), 0))} })
	var logits *graph.Node
	eval := build(t, d.Target, false, func(g *Graph) []*graph.Node {
		loss, correct, err := g.Evaluate(d.Hybrid(2))
		if err != nil {
			t.Fatal(err)
		}
		logits = must(t)(g.Logits(d.Hybrid(2).Eval(), 0))
		return []*graph.Node{loss, correct, logits}
	})
	sum := 0.0
	for i, l := range eval.e.Data(eval.want[0]) {
		sum += l
		row := eval.e.Data(logits)[i*d.Target.Classes:][:d.Target.Classes]
		right := 0.0
		if slices.Max(row) == row[i%d.Target.Classes] { // where build puts the largest target
			right = 1
		}
		if got := eval.e.Data(eval.want[1])[i]; got != right {
			t.Errorf("sample %d: correct is %v, want %v", i, got, right)
		}
	}
	if want := train.e.Data(train.want[0])[0]; math.Abs(sum/smallBatch-want) > 1e-14 {
		t.Errorf("mean loss %v, in training %v", sum/smallBatch, want)
	}
}

// The last module's imitation is the distance of two networks' logits, since
// what is before it is the same; and a module with the meta module's weights
// imitates it perfectly (Figure 2a).
func TestImitation(t *testing.T) {
	d := divide(t, small(4), 1, 2, 2)
	x := build(t, d.Target, true, func(g *Graph) []*graph.Node { return []*graph.Node{must(t)(g.Imitate(d, 2, 0))} })
	y := build(t, d.Target, false, func(g *Graph) []*graph.Node {
		return []*graph.Node{must(t)(g.Logits(d.Hybrid(2).Eval(), 0)), must(t)(g.Logits(d.MetaNet().Eval(), 0))}
	})
	want := 0.0
	a, b := y.e.Data(y.want[0]), y.e.Data(y.want[1])
	for i := range a {
		want += math.Abs(a[i]-b[i]) / float64(len(a))
	}
	if got := x.e.Data(x.want[0])[0]; want == 0 || math.Abs(got-want) > 1e-14 {
		t.Errorf("module 2: loss %v, want %v", got, want)
	}

	same := divide(t, small(4), 2, 2, 2)
	for i := 1; i <= 2; i++ {
		x := build(t, d.Target, true, func(g *Graph) []*graph.Node { return []*graph.Node{must(t)(g.Imitate(same, i, 0))} })
		if x.e.Data(x.want[0])[0] == 0 {
			t.Errorf("module %d: no loss with weights of its own", i)
		}
		for leaf := range x.grads {
			copy(x.e.Data(x.b.Leaf(leaf)), x.e.Data(x.b.Leaf("meta/"+strings.TrimPrefix(leaf, "target/"))))
		}
		x.e.Run()
		if got := x.e.Data(x.want[0])[0]; got != 0 {
			t.Errorf("module %d: loss %v with the meta module's weights", i, got)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	d := divide(t, small(4), 1, 2, 2)
	bad := d.Target
	bad.Heads = 5
	for _, c := range []struct {
		name string
		err  func(g *Graph) error
		want string
	}{
		{"invalid shape", func(*Graph) error {
			_, err := NewGraph(graph.NewBuilder(graph.Float32), bad, 1)
			return err
		}, "heads: 5 heads do not divide"},
		{"no batch", func(*Graph) error {
			_, err := NewGraph(graph.NewBuilder(graph.Float32), d.Target, 0)
			return err
		}, `input "images" has shape [0 2 4 4]`},
		{"drop path", func(g *Graph) error {
			_, err := g.Loss(d.TargetNet(), 1)
			return err
		}, "drop path rate is 1"},
		{"imitation's drop path", func(g *Graph) error {
			_, err := g.Imitate(d, 1, -1)
			return err
		}, "drop path rate is -1"},
		{"another width", func(g *Graph) error {
			n := d.TargetNet()
			n.Width = 12
			_, err := g.Logits(n, 0)
			return err
		}, "a network of the shape"},
		{"frozen and trained", func(g *Graph) error {
			if _, err := g.Logits(d.Hybrid(1), 0); err != nil {
				return err
			}
			_, _, err := g.Evaluate(d.TargetNet())
			return err
		}, "target/cls_token is frozen in one network and trained in another"},
	} {
		g, err := NewGraph(graph.NewBuilder(graph.Float32), d.Target, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.err(g); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}
