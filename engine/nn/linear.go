package nn

import "hatchery/engine/graph"

// LinearForward is y = x wᵀ + b with x [M, K], w [N, K], b [N] and y [M, N].
// Without Bias there is no input b.
type LinearForward struct {
	M, K, N int
	Bias    bool
}

// LinearBackwardInput is dx = dy w.
// Inputs dy [M, N] and w [N, K]; output dx [M, K].
type LinearBackwardInput struct{ M, K, N int }

// LinearBackwardWeight is dw = dyᵀ x.
// Inputs dy [M, N] and x [M, K]; output dw [N, K].
type LinearBackwardWeight struct{ M, K, N int }

// ColumnSum is y = the sum of the rows of x [M, N]; output y [N].
type ColumnSum struct{ M, N int }

func (LinearForward) Name() string        { return "linear" }
func (LinearBackwardInput) Name() string  { return "linear_dx" }
func (LinearBackwardWeight) Name() string { return "linear_dw" }
func (ColumnSum) Name() string            { return "column_sum" }

// Linear applies a linear layer to the last axis of x. w is [out, in] as in
// PyTorch; bias is [out], or nil.
func Linear(b *graph.Builder, x, w, bias *graph.Node) *graph.Node {
	xs, ws := x.Shape(), w.Shape()
	k := xs[len(xs)-1]
	graph.Check(len(ws) == 2 && ws[1] == k, "linear: x %v, weight %v", xs, ws)
	ys := xs.Clone()
	ys[len(ys)-1] = ws[0]
	kernel := LinearForward{M: xs.TotalSize() / k, K: k, N: ws[0], Bias: bias != nil}
	if bias == nil {
		return b.Apply(kernel, shapes(ys), []bool{true, true}, x, w)
	}
	graph.Check(bias.Shape().TotalSize() == ws[0], "linear: weight %v, bias %v", ws, bias.Shape())
	return b.Apply(kernel, shapes(ys), []bool{true, true, true}, x, w, bias)
}

// Gradient implements graph.Differentiable.
func (k LinearForward) Gradient(c *graph.Call, in []*graph.Node, _, dy *graph.Node) []*graph.Node {
	grads := make([]*graph.Node, len(in))
	if c.Needs(0) {
		w := in[1]
		grads[0] = c.Backward(LinearBackwardInput{k.M, k.K, k.N}, shapes(in[0].Shape()), dy, w).Output(0, dy, w)
	}
	if c.Needs(1) {
		x := c.Saved(in[0])
		grads[1] = c.Backward(LinearBackwardWeight{k.M, k.K, k.N}, shapes(in[1].Shape()), dy, x).Output(0, dy, x)
	}
	if k.Bias && c.Needs(2) {
		grads[2] = c.Backward(ColumnSum{k.M, k.N}, shapes(in[2].Shape()), dy).Output(0, dy)
	}
	return grads
}
