package nn

import (
	"hatchery/engine/graph"
)

// CrossEntropyForward is the mean over B rows of -Σ target · log softmax(logits),
// with soft targets. Inputs logits and targets [B, Classes]; output a scalar.
type CrossEntropyForward struct{ B, Classes int }

// CrossEntropyBackward computes dlogits from logits, targets and dloss.
type CrossEntropyBackward struct{ B, Classes int }

// L1Forward is the mean of |x - y| over N elements, a scalar. Only x is
// differentiated.
type L1Forward struct{ N int }

// L1Backward computes dx from x, y and dloss; it is 0 where x equals y.
type L1Backward struct{ N int }

// Score computes, from logits and targets [B, Classes], the cross-entropy of each sample
// [B], and for each sample 1 if the largest logit is at the largest target, else 0 [B].
type Score struct{ B, Classes int }

// Sum is the sum of N scalars, its inputs.
type Sum struct{ N int }

func (CrossEntropyForward) Name() string  { return "cross_entropy" }
func (CrossEntropyBackward) Name() string { return "cross_entropy_backward" }
func (L1Forward) Name() string            { return "l1" }
func (L1Backward) Name() string           { return "l1_backward" }
func (Score) Name() string                { return "score" }
func (Sum) Name() string                  { return "sum" }

func scalar() graph.Shape { return graph.Shape{} }

// CrossEntropy returns the soft-target cross-entropy of DeiT (timm's
// SoftTargetCrossEntropy), averaged over the batch.
func CrossEntropy(b *graph.Builder, logits, targets *graph.Node) *graph.Node {
	s := logits.Shape()
	graph.Check(len(s) == 2 && s.Eq(targets.Shape()), "cross-entropy: logits %v, targets %v", s, targets.Shape())
	return b.Apply(CrossEntropyForward{s[0], s[1]}, shapes(scalar()), []bool{true, false}, logits, targets)
}

// Gradient implements graph.Differentiable.
func (k CrossEntropyForward) Gradient(c *graph.Call, in []*graph.Node, _, dloss *graph.Node) []*graph.Node {
	d := c.Backward(CrossEntropyBackward(k), shapes(in[0].Shape()), in[0], in[1], dloss)
	return []*graph.Node{d.Output(0, in[0], in[1], dloss), nil}
}

// L1 returns the mean absolute difference of x and y, the feature loss of Module
// Imitation (paper sections 3 and 4.4).
func L1(b *graph.Builder, x, y *graph.Node) *graph.Node {
	graph.Check(x.Shape().Eq(y.Shape()), "L1: %v and %v", x.Shape(), y.Shape())
	return b.Apply(L1Forward{x.Shape().TotalSize()}, shapes(scalar()), []bool{true, false}, x, y)
}

// Gradient implements graph.Differentiable.
func (k L1Forward) Gradient(c *graph.Call, in []*graph.Node, _, dloss *graph.Node) []*graph.Node {
	d := c.Backward(L1Backward(k), shapes(in[0].Shape()), in[0], in[1], dloss)
	return []*graph.Node{d.Output(0, in[0], in[1], dloss), nil}
}

// Evaluate returns the loss of each sample [B], and for each sample 1 if the top
// prediction is right, else 0 [B].
func Evaluate(b *graph.Builder, logits, targets *graph.Node) (loss, correct *graph.Node) {
	s := logits.Shape()
	graph.Check(len(s) == 2 && s.Eq(targets.Shape()), "evaluate: logits %v, targets %v", s, targets.Shape())
	loss = b.Apply(Score{s[0], s[1]}, shapes(graph.Shape{s[0]}, graph.Shape{s[0]}), []bool{false, false}, logits, targets)
	return loss, graph.Output(loss, 1)
}

// Total returns the sum of scalar losses. Modules that share no trainable parameter can
// be differentiated together through the sum of their losses.
func Total(b *graph.Builder, losses ...*graph.Node) *graph.Node {
	all := make([]bool, len(losses))
	for i := range all {
		all[i] = true
	}
	return b.Apply(Sum{len(losses)}, shapes(scalar()), all, losses...)
}

// Gradient implements graph.Differentiable.
func (k Sum) Gradient(_ *graph.Call, in []*graph.Node, _, dsum *graph.Node) []*graph.Node {
	grads := make([]*graph.Node, len(in))
	for i := range grads {
		grads[i] = dsum
	}
	return grads
}
