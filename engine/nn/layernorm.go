package nn

import "hatchery/engine/graph"

// LayerNormForward is y = (x - mean) / sqrt(var + Eps) * gamma + beta over the
// rows of x [M, N], with the biased variance. Inputs x, gamma [N], beta [N];
// outputs y [M, N] and, for the gradient, mean and 1/sqrt(var + Eps) of each
// row [M, 2].
type LayerNormForward struct {
	M, N int
	Eps  float64
}

// LayerNormBackward computes dx [M, N], dgamma [N] and dbeta [N] from x, gamma,
// dy [M, N] and the statistics of the rows [M, 2].
type LayerNormBackward struct{ M, N int }

func (LayerNormForward) Name() string  { return "layer_norm" }
func (LayerNormBackward) Name() string { return "layer_norm_backward" }

// LayerNorm normalises the last axis of x.
func LayerNorm(b *graph.Builder, x, gamma, beta *graph.Node, eps float64) *graph.Node {
	xs := x.Shape()
	n := xs[len(xs)-1]
	graph.Check(gamma.Shape().TotalSize() == n && beta.Shape().TotalSize() == n,
		"layer norm: x %v, weight %v, bias %v", xs, gamma.Shape(), beta.Shape())
	return b.Apply(LayerNormForward{xs.TotalSize() / n, n, eps}, shapes(xs, graph.Shape{xs.TotalSize() / n, 2}), []bool{true, true, true}, x, gamma, beta)
}

// Gradient implements graph.Differentiable.
func (k LayerNormForward) Gradient(c *graph.Call, in []*graph.Node, out, dy *graph.Node) []*graph.Node {
	x, gamma, stats := c.Saved(in[0]), in[1], graph.Output(c.Saved(out), 1)
	d := c.Backward(LayerNormBackward{k.M, k.N}, shapes(x.Shape(), gamma.Shape(), gamma.Shape()), x, gamma, dy, stats)
	return pick(c, d, 3, x, gamma, dy, stats)
}
