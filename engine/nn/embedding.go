package nn

import "hatchery/engine/graph"

// Patchify cuts images [B, Channels, Size, Size] into patches of Patch x Patch
// pixels: [B, (Size/Patch)², Channels·Patch²], each patch laid out like a
// filter of timm's patch_embed.proj. A linear layer on it is the patch embedding.
type Patchify struct{ B, Channels, Size, Patch int }

// TokensForward is y [B, N+1, C]: the class token [C] before the patch tokens
// x [B, N, C] of each sample, plus the position embedding [N+1, C].
type TokensForward struct{ B, N, C int }

// TokensBackward computes dx, the gradient of the class token and that of the
// position embedding from dy [B, N+1, C].
type TokensBackward struct{ B, N, C int }

// ClassToken is y [B, C]: token 0 of x [B, N, C].
type ClassToken struct{ B, N, C int }

// ClassTokenBackward is dx [B, N, C]: dy [B, C] at token 0, 0 elsewhere.
type ClassTokenBackward struct{ B, N, C int }

func (Patchify) Name() string           { return "patchify" }
func (TokensForward) Name() string      { return "tokens" }
func (TokensBackward) Name() string     { return "tokens_backward" }
func (ClassToken) Name() string         { return "class_token" }
func (ClassTokenBackward) Name() string { return "class_token_backward" }

// Patches cuts square images into square patches. It has no gradient.
func Patches(b *graph.Builder, images *graph.Node, patch int) *graph.Node {
	s := images.Shape()
	graph.Check(len(s) == 4 && s[2] == s[3] && patch > 0 && s[2]%patch == 0, "patches of %d: images %v", patch, s)
	side := s[2] / patch
	return b.Apply(Patchify{s[0], s[1], s[2], patch}, shapes(graph.Shape{s[0], side * side, s[1] * patch * patch}),
		[]bool{false}, images)
}

// Tokens puts the class token before the patch tokens and adds the position
// embedding. cls has C elements and pos has (N+1)·C; their leading axes do not matter.
func Tokens(b *graph.Builder, x, cls, pos *graph.Node) *graph.Node {
	s := x.Shape()
	graph.Check(len(s) == 3 && cls.Shape().TotalSize() == s[2] && pos.Shape().TotalSize() == (s[1]+1)*s[2],
		"tokens: x %v, cls_token %v, pos_embed %v", s, cls.Shape(), pos.Shape())
	return b.Apply(TokensForward{s[0], s[1], s[2]}, shapes(graph.Shape{s[0], s[1] + 1, s[2]}),
		[]bool{true, true, true}, x, cls, pos)
}

// Gradient implements graph.Differentiable.
func (k TokensForward) Gradient(c *graph.Call, in []*graph.Node, _, dy *graph.Node) []*graph.Node {
	d := c.Backward(TokensBackward(k), shapes(in[0].Shape(), in[1].Shape(), in[2].Shape()), dy)
	return pick(c, d, 3, dy)
}

// TakeClassToken returns the class token of each sample of x [B, N, C].
func TakeClassToken(b *graph.Builder, x *graph.Node) *graph.Node {
	s := x.Shape()
	graph.Check(len(s) == 3, "class token: x %v", s)
	return b.Apply(ClassToken{s[0], s[1], s[2]}, shapes(graph.Shape{s[0], s[2]}), []bool{true}, x)
}

// Gradient implements graph.Differentiable.
func (k ClassToken) Gradient(c *graph.Call, in []*graph.Node, _, dy *graph.Node) []*graph.Node {
	return []*graph.Node{c.Backward(ClassTokenBackward(k), shapes(in[0].Shape()), dy).Output(0, dy)}
}
