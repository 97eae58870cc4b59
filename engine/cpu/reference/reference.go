// Package reference computes every kernel of package nn with simple loops, in float32 or
// float64. In float64 it serves to check gradients, and all fast kernels are tested against
// it. Nothing here is tuned.
package reference

import (
	"fmt"

	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// Float is a type in which kernels are computed.
type Float interface{ float32 | float64 }

// Bind returns a function that computes those outputs of a kernel that are not nil.
func Bind[T Float](kernel graph.Kernel, out, in [][]T) (func(), error) {
	switch k := kernel.(type) {
	case graph.Add:
		return func() { add(out[0], in[0], in[1]) }, nil
	case nn.LinearForward:
		var bias []T
		if k.Bias {
			bias = in[2]
		}
		return func() { linear(out[0], in[0], in[1], bias, k.M, k.K, k.N) }, nil
	case nn.LinearBackwardInput:
		return func() { linearDx(out[0], in[0], in[1], k.M, k.K, k.N) }, nil
	case nn.LinearBackwardWeight:
		return func() { linearDw(out[0], in[0], in[1], k.M, k.K, k.N) }, nil
	case nn.ColumnSum:
		return func() { columnSum(out[0], in[0], k.M, k.N) }, nil
	case nn.LayerNormForward:
		return func() { layerNorm(out[0], out[1], in[0], in[1], in[2], k) }, nil
	case nn.LayerNormBackward:
		return func() { layerNormBackward(out[0], out[1], out[2], in[0], in[1], in[2], in[3], k) }, nil
	case nn.GELUForward:
		return func() { gelu(out[0], in[0]) }, nil
	case nn.GELUBackward:
		return func() { geluBackward(out[0], in[0], in[1]) }, nil
	case nn.AttentionForward:
		return func() { attention(out[0], in[0], k) }, nil
	case nn.AttentionBackward:
		return func() { attentionBackward(out[0], in[0], in[1], k) }, nil
	case nn.Patchify:
		return func() { patchify(out[0], in[0], k) }, nil
	case nn.TokensForward:
		return func() { tokens(out[0], in[0], in[1], in[2], k) }, nil
	case nn.TokensBackward:
		return func() { tokensBackward(out[0], out[1], out[2], in[0], k) }, nil
	case nn.ClassToken:
		return func() { classToken(out[0], in[0], k) }, nil
	case nn.ClassTokenBackward:
		return func() { classTokenBackward(out[0], in[0], k) }, nil
	case nn.ResidualForward:
		return func() { residual(out[0], in, k) }, nil
	case nn.ScaleSamples:
		return func() { scaleSamples(out[0], in[0], in[1], k) }, nil
	case nn.CrossEntropyForward:
		return func() { crossEntropy(out[0], in[0], in[1], k.B, k.Classes) }, nil
	case nn.CrossEntropyBackward:
		return func() { crossEntropyBackward(out[0], in[0], in[1], in[2], k.B, k.Classes) }, nil
	case nn.L1Forward:
		return func() { l1(out[0], in[0], in[1]) }, nil
	case nn.L1Backward:
		return func() { l1Backward(out[0], in[0], in[1], in[2]) }, nil
	case nn.Score:
		return func() { score(out[0], out[1], in[0], in[1], k.B, k.Classes) }, nil
	case nn.Sum:
		return func() { sum(out[0], in) }, nil
	}
	return nil, fmt.Errorf("no code for kernel %s (%T)", kernel.Name(), kernel)
}
