package nn

import "hatchery/engine/graph"

// AttentionForward is multi-head self-attention on packed qkv [B, N, 3, H, D]
// (timm's layout): out [B, N, H, D] = softmax(q kᵀ / sqrt(D)) v for each head.
type AttentionForward struct{ B, N, H, D int }

// AttentionBackward computes dqkv from qkv and dout. The probabilities are
// computed again: keeping them would take N times the memory of q.
type AttentionBackward struct{ B, N, H, D int }

func (AttentionForward) Name() string  { return "attention" }
func (AttentionBackward) Name() string { return "attention_backward" }

// Attention applies multi-head self-attention to qkv [B, N, 3C]; the result is
// [B, N, C]. heads divides C.
func Attention(b *graph.Builder, qkv *graph.Node, heads int) *graph.Node {
	s := qkv.Shape()
	graph.Check(len(s) == 3 && heads > 0 && s[2]%(3*heads) == 0, "attention: qkv %v with %d heads", s, heads)
	c := s[2] / 3
	k := AttentionForward{B: s[0], N: s[1], H: heads, D: c / heads}
	return b.Apply(k, shapes(graph.Shape{k.B, k.N, c}), []bool{true}, qkv)
}

// Gradient implements graph.Differentiable.
func (k AttentionForward) Gradient(c *graph.Call, in []*graph.Node, _, dout *graph.Node) []*graph.Node {
	qkv := c.Saved(in[0])
	return []*graph.Node{c.Backward(AttentionBackward(k), shapes(qkv.Shape()), qkv, dout).Output(0, qkv, dout)}
}
