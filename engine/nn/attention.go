package nn

import "hatchery/engine/graph"

// AttentionForward is multi-head self-attention on packed qkv [B, N, 3, H, D]
// (timm's layout): out [B, N, H, D] = softmax(q kᵀ / sqrt(D)) v for each head,
// and, when asked for, the log-sum-exp of the scaled scores [B, H, N].
type AttentionForward struct{ B, N, H, D int }

// AttentionBackward computes dqkv from qkv, out, the log-sum-exp and dout. The
// probabilities are computed again from the log-sum-exp.
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
	return b.Apply(k, shapes(graph.Shape{k.B, k.N, c}, graph.Shape{k.B, k.H, k.N}), []bool{true}, qkv)
}

// Gradient implements graph.Differentiable.
func (k AttentionForward) Gradient(c *graph.Call, in []*graph.Node, out, dout *graph.Node) []*graph.Node {
	qkv, out := c.Saved(in[0]), c.Saved(out)
	lse := graph.Output(out, 1)
	d := c.Backward(AttentionBackward(k), shapes(qkv.Shape()), qkv, out, lse, dout)
	return []*graph.Node{d.Output(0, qkv, out, lse, dout)}
}
