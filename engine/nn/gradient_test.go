package nn_test

import (
	"fmt"
	"math"
	"testing"

	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/engine/random"
)

// network builds a loss over some parameters and inputs.
type network struct {
	name  string
	build func(b *graph.Builder) (loss *graph.Node)
}

// reduce makes a scalar of any node so that every element has a different weight: a random
// linear map of the last axis, then the mean distance from a constant so far away that L1
// is smooth.
func reduce(b *graph.Builder, x *graph.Node) *graph.Node {
	s := x.Shape()
	y := nn.Linear(b, x, b.Input("read.weight", 3, s[len(s)-1]), nil)
	return nn.L1(b, y, b.Input("far", y.Shape()...))
}

var networks = []network{
	{"linear", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Linear(b, b.Param("x", 2, 3, 5), b.Param("w", 4, 5), b.Param("bias", 4)))
	}},
	{"linear without bias", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Linear(b, b.Param("x", 7, 5), b.Param("w", 4, 5), nil))
	}},
	{"layer norm", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.LayerNorm(b, b.Param("x", 2, 3, 6), b.Param("gamma", 6), b.Param("beta", 6), 1e-6))
	}},
	{"gelu", func(b *graph.Builder) *graph.Node { return reduce(b, nn.GELU(b, b.Param("x", 4, 9))) }},
	{"attention", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Attention(b, b.Param("qkv", 2, 5, 3*6), 2))
	}},
	{"tokens", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Tokens(b, b.Param("x", 2, 4, 3), b.Param("cls", 1, 1, 3), b.Param("pos", 1, 5, 3)))
	}},
	{"class token", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.TakeClassToken(b, b.Param("x", 3, 4, 5)))
	}},
	{"patch embedding", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Linear(b, nn.Patches(b, b.Input("images", 2, 3, 4, 4), 2), b.Param("w", 4, 12), b.Param("bias", 4)))
	}},
	{"residual", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Residual(b, b.Param("x", 3, 2, 4), b.Param("f", 3, 2, 4), nil))
	}},
	{"residual with drop path", func(b *graph.Builder) *graph.Node {
		return reduce(b, nn.Residual(b, b.Param("x", 3, 2, 4), b.Param("f", 3, 2, 4), b.Input("drop", 3)))
	}},
	{"cross-entropy", func(b *graph.Builder) *graph.Node {
		return nn.CrossEntropy(b, b.Param("logits", 4, 5), b.Input("targets", 4, 5))
	}},
	{"L1", func(b *graph.Builder) *graph.Node { return nn.L1(b, b.Param("x", 4, 5), b.Input("y", 4, 5)) }},
	{"total", func(b *graph.Builder) *graph.Node {
		return nn.Total(b,
			nn.CrossEntropy(b, b.Param("a", 4, 5), b.Input("targets a", 4, 5)),
			nn.CrossEntropy(b, b.Param("b", 4, 5), b.Input("targets b", 4, 5)))
	}},
	{"a value used twice", func(b *graph.Builder) *graph.Node {
		x := nn.GELU(b, b.Param("x", 3, 4))
		return reduce(b, nn.Residual(b, x, nn.Linear(b, x, b.Param("w", 4, 4), nil), nil))
	}},
}

// fill sets the values of a leaf, which depend only on its name.
func fill[T float32 | float64](name string, data []T) {
	s := random.New(1, name)
	for i := range data {
		switch name {
		case "far":
			data[i] = -30
		case "drop":
			data[i] = 0
			if i > 0 {
				data[i] = 1.25
			}
		case "targets", "targets a", "targets b":
			data[i] = T(s.Float64())
		default:
			data[i] = T(s.NormFloat64())
		}
	}
}

// TestGradients compares every gradient entry of every kernel with float64
// central differences.
func TestGradients(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			b := graph.NewBuilder(graph.Float64)
			loss := n.build(b)
			grads, err := b.Gradients(t.Context(), loss)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := b.Plan(append([]*graph.Node{loss}, grads...)...)
			if err != nil {
				t.Fatal(err)
			}
			pool := cpu.NewPool(1)
			defer pool.Close()
			e, err := cpu.Compile[float64](plan, pool, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range plan.Leaves() {
				fill(v.Name, e.Data(b.Leaf(v.Name)))
			}
			e.Run()
			analytic := make([][]float64, len(grads))
			for i, g := range grads {
				analytic[i] = append(analytic[i], e.Data(g)...)
			}
			worst := 0.0
			for i, p := range b.Params() {
				x, largest := e.Data(p), 0.0
				for _, g := range analytic[i] {
					largest = max(largest, math.Abs(g))
				}
				if largest == 0 {
					t.Errorf("%s: the gradient is zero", p.Name())
				}
				for j, old := range x {
					numeric := derivative(func(h float64) float64 {
						x[j] = old + h
						e.Run()
						return e.Data(loss)[0]
					})
					x[j] = old
					rel := math.Abs(numeric-analytic[i][j]) / largest
					if !(rel <= 1e-6) {
						t.Errorf("%s[%d]: analytic %g, numeric %g", p.Name(), j, analytic[i][j], numeric)
					}
					worst = max(worst, rel)
				}
			}
			t.Logf("worst error %.1e of the parameter's largest gradient", worst)
		})
	}
}

// derivative returns the fourth-order central difference of f at 0.
func derivative(f func(h float64) float64) float64 {
	const h = 1e-3
	return (8*(f(h)-f(-h)) - (f(2*h) - f(-2*h))) / (12 * h)
}

func TestShapeErrors(t *testing.T) {
	for _, c := range []struct {
		want  string
		build func(b *graph.Builder)
	}{
		{"graph: linear: x (2, 3), weight (4, 5)", func(b *graph.Builder) {
			nn.Linear(b, b.Input("x", 2, 3), b.Input("w", 4, 5), nil)
		}},
		{"graph: attention: qkv (2, 5, 18) with 4 heads", func(b *graph.Builder) {
			nn.Attention(b, b.Input("x", 2, 5, 18), 4)
		}},
		{`graph: two inputs are named "x"`, func(b *graph.Builder) { b.Input("x", 1); b.Param("x", 2) }},
		{`graph: input "x" has shape [2 0]`, func(b *graph.Builder) { b.Input("x", 2, 0) }},
	} {
		err := func() (err error) {
			defer graph.Catch(&err)
			c.build(graph.NewBuilder(graph.Float32))
			return nil
		}()
		if fmt.Sprint(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
