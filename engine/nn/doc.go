// Package nn defines the fused kernels of which networks consist: their sizes, the shapes
// of their inputs and outputs, and their gradients. The executors (such as package cpu)
// implement the computations.
//
// The functions of this package ([Linear], [LayerNorm], [Attention], ...) add a kernel to
// a graph. The types ([LinearForward], ...) are the kernels in a plan. Shapes are
// row-major; B is the number of samples in a batch, N the number of tokens in a sequence
// and C the number of channels (timm's embed_dim).
package nn

import "hatchery/engine/graph"

func shapes(s ...graph.Shape) []graph.Shape { return s }

// pick returns the first outputs of a backward call, with nil for those whose input needs
// no gradient.
func pick(c, backward *graph.Call, outputs int, in ...*graph.Node) []*graph.Node {
	grads := make([]*graph.Node, outputs)
	for i := range grads {
		if c.Needs(i) {
			grads[i] = backward.Output(i, in...)
		}
	}
	return grads
}
