package nn

import "hatchery/engine/graph"

// GELUForward is y = x Φ(x) with the exact (erf) Gaussian CDF, over N elements.
type GELUForward struct{ N int }

// GELUBackward computes dx from x and dy, all of N elements.
type GELUBackward struct{ N int }

func (GELUForward) Name() string  { return "gelu" }
func (GELUBackward) Name() string { return "gelu_backward" }

// GELU applies the Gaussian error linear unit (Hendrycks and Gimpel), exact.
func GELU(b *graph.Builder, x *graph.Node) *graph.Node {
	return b.Apply(GELUForward{x.Shape().TotalSize()}, shapes(x.Shape()), []bool{true}, x)
}

// Gradient implements graph.Differentiable.
func (k GELUForward) Gradient(c *graph.Call, in []*graph.Node, _, dy *graph.Node) []*graph.Node {
	x := c.Saved(in[0])
	return []*graph.Node{c.Backward(GELUBackward(k), shapes(x.Shape()), x, dy).Output(0, x, dy)}
}
