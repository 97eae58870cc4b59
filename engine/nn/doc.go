// Package nn defines the fused kernels that networks are made of, one family a
// file: for each its sizes, the shapes it takes and gives, and its gradient.
// How a kernel computes is the business of the executors (package cpu).
//
// The functions of this package ([Linear], [LayerNorm], [Attention], ...) add
// a kernel to a graph; the types ([LinearForward], ...) are what an executor
// meets in a plan. Shapes are row-major; B is the number of samples in a batch,
// N of tokens in a sequence, C of channels (timm's embed_dim).
package nn

import "hatchery/engine/graph"

func shapes(s ...graph.Shape) []graph.Shape { return s }

// pick returns, for each input that needs a gradient, the output of the same
// index of a backward call.
func pick(c, backward *graph.Call, outputs int, in ...*graph.Node) []*graph.Node {
	grads := make([]*graph.Node, outputs)
	for i := range grads {
		if c.Needs(i) {
			grads[i] = backward.Output(i, in...)
		}
	}
	return grads
}
