package nn

import "hatchery/engine/graph"

// ResidualForward is y = x + f over B samples of N elements; with DropPath,
// y = x + scale[sample] f with a third input scale [B].
type ResidualForward struct {
	B, N     int
	DropPath bool
}

// ScaleSamples is y = scale[sample] x over B samples of N elements: the
// gradient of a branch with drop path.
type ScaleSamples struct{ B, N int }

func (ResidualForward) Name() string { return "residual" }
func (ScaleSamples) Name() string    { return "scale_samples" }

// Residual adds the branch f to x. With drop path (stochastic depth, Huang et
// al.; timm's drop_path), scale holds 0 or 1/keep for each sample; nil means
// no drop path.
func Residual(b *graph.Builder, x, f, scale *graph.Node) *graph.Node {
	s := x.Shape()
	graph.Check(s.Eq(f.Shape()), "residual: x %v, branch %v", s, f.Shape())
	k := ResidualForward{s[0], s.TotalSize() / s[0], scale != nil}
	if scale == nil {
		return b.Apply(k, shapes(s), []bool{true, true}, x, f)
	}
	graph.Check(scale.Shape().TotalSize() == s[0], "residual: x %v, drop path %v", s, scale.Shape())
	return b.Apply(k, shapes(s), []bool{true, true, false}, x, f, scale)
}

// Gradient implements graph.Differentiable.
func (k ResidualForward) Gradient(c *graph.Call, in []*graph.Node, _, dy *graph.Node) []*graph.Node {
	if !k.DropPath {
		return []*graph.Node{dy, dy}
	}
	grads := []*graph.Node{dy, nil, nil}
	if c.Needs(1) {
		grads[1] = c.Backward(ScaleSamples{k.B, k.N}, shapes(dy.Shape()), dy, in[2]).Output(0, dy, in[2])
	}
	return grads
}
