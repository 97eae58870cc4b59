package cpu

import (
	"hatchery/engine/cpu/gemm"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// scratch is memory that all steps of an executor share. Its content is undefined when a
// step starts.
type scratch struct {
	need   int // floats that were reserved
	floats []float32
}

// reserve makes allocate provide at least n floats.
func (s *scratch) reserve(n int) { s.need = max(s.need, n) }

// allocate allocates what was reserved.
func (s *scratch) allocate() {
	if s.need > len(s.floats) {
		s.floats = make([]float32, s.need)
	}
}

func (s *scratch) take(n int) []float32 { return s.floats[:n] }

// fast returns tuned float32 code for a kernel. It returns nil for kernels that are rare
// and small, for which the code of package reference is good enough.
func fast(kernel graph.Kernel, out, in [][]float32, pool *Pool, s *scratch) (func(), error) {
	switch k := kernel.(type) {
	case nn.LinearForward:
		op := gemm.Operands{Alpha: 1, A: in[0], B: in[1], C: out[0]}
		if k.Bias {
			op.Beta, op.D = 1, in[2]
		}
		return product(gemm.Shape{M: k.M, N: k.N, K: k.K, TransB: true, LDA: k.K, LDB: k.K, LDC: k.N}, op, pool, s)
	case nn.LinearBackwardInput:
		return product(gemm.Shape{M: k.M, N: k.K, K: k.N, LDA: k.N, LDB: k.K, LDC: k.K},
			gemm.Operands{Alpha: 1, A: in[0], B: in[1], C: out[0]}, pool, s)
	case nn.LinearBackwardWeight:
		return product(gemm.Shape{M: k.N, N: k.K, K: k.M, TransA: true, LDA: k.N, LDB: k.K, LDC: k.K},
			gemm.Operands{Alpha: 1, A: in[0], B: in[1], C: out[0]}, pool, s)
	case nn.AttentionForward:
		return attentionForward(k, out[0], in[0], pool, s)
	case nn.AttentionBackward:
		return attentionBackward(k, out[0], in[0], in[1], pool, s)
	case graph.Add:
		return add(k, out[0], in[0], in[1], pool), nil
	case nn.ColumnSum:
		return columnSum(k, out[0], in[0], pool, s), nil
	case nn.LayerNormForward:
		return layerNorm(k, out[0], out[1], in[0], in[1], in[2], pool, s), nil
	case nn.LayerNormBackward:
		return layerNormBackward(k, out[0], out[1], out[2], in[0], in[1], in[2], in[3], pool, s), nil
	case nn.GELUForward:
		return gelu(k, out[0], in[0], pool), nil
	case nn.GELUBackward:
		return geluBackward(k, out[0], in[0], in[1], pool), nil
	case nn.ResidualForward:
		return residual(k, out[0], in, pool), nil
	case nn.ScaleSamples:
		return scaleSamples(k, out[0], in[0], in[1], pool), nil
	case nn.Patchify:
		return patchify(k, out[0], in[0], pool), nil
	case nn.TokensForward:
		return tokens(k, out[0], in[0], in[1], in[2], pool), nil
	case nn.TokensBackward:
		return tokensBackward(k, out[0], out[1], out[2], in[0], pool), nil
	case nn.CrossEntropyForward:
		return crossEntropy(k, out[0], in[0], in[1], pool), nil
	case nn.CrossEntropyBackward:
		return crossEntropyBackward(k, out[0], in[0], in[1], in[2], pool), nil
	case nn.L1Backward:
		return l1Backward(k, out[0], in[0], in[1], in[2], pool), nil
	case nn.Score:
		return score(k, out[0], out[1], in[0], in[1], pool), nil
	case nn.ClassTokenBackward:
		return classTokenBackward(k, out[0], in[0], pool), nil
	}
	return nil, nil
}

// product returns a function that computes one matrix product.
func product(shape gemm.Shape, op gemm.Operands, pool *Pool, s *scratch) (func(), error) {
	plan, err := gemm.New(shape, pool.Workers())
	if err != nil {
		return nil, err
	}
	n := plan.Scratch()
	s.reserve(n)
	return func() { plan.Run(pool, s.take(n), op) }, nil
}
