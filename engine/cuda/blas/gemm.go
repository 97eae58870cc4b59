// Package blas is matrix multiplication on NVIDIA GPUs through cuBLAS and
// cublasLt, which are found and opened at run time: versions 13, 12 and 11.
//
// This file, what a multiplication is, needs neither a GPU nor a build tag; the
// rest needs the tag gpu.
package blas

import (
	"fmt"

	"hatchery/engine/cuda/kernels"
)

// Gemm is d = epilogue(Alpha op(a) op(b) + Beta d), all row-major: op(a) is
// [M, K], op(b) [K, N], d [M, N]. It accumulates in float32; float32 inputs are
// not rounded to TF32.
type Gemm struct {
	M, N, K int
	TransA  bool // a is [K, M]
	TransB  bool // b is [N, K]

	A, B, D kernels.DType

	// Elements from a row to the next of what is in memory; 0: the rows are
	// dense.
	LDA, LDB, LDD int

	Alpha, Beta float32 // Alpha 0 means 1

	Epilogue Epilogue

	// BiasType is how the bias or its gradient is stored. cublasLt has kernels
	// for the type of d; float32 beside a bfloat16 d is mostly unsupported.
	BiasType kernels.DType

	// Batch multiplications, 0 means 1, whose matrices begin Stride elements
	// after one another. An epilogue other than None needs Batch 1.
	Batch                     int
	StrideA, StrideB, StrideD int
}

// Epilogue is what is done to a product before it is stored, in float32.
// cublasLt's GELU is the tanh approximation, 0.5 x (1 + tanh(√(2/π) (x +
// 0.044715 x³))), up to 5e-4 away from the exact one of the networks here. Its
// gradient is the approximation's own, so that both belong together.
type Epilogue uint8

const (
	None     Epilogue = iota
	Bias              // d = ab + bias [N]
	GeluBias          // d = gelu(ab + bias [N])
	// GeluAuxBias is aux [M, N] = ab + bias [N], d = gelu(ab + bias). The row of
	// aux must be a multiple of 8 elements.
	GeluAuxBias
	// DGelu is d = ab gelu'(aux [M, N]).
	DGelu
	// DGeluBiasGrad is DGelu, and bias [N] = sums of d's columns, before they
	// were rounded.
	DGeluBiasGrad
	// SumA is d = ab, and bias [M] = sums of op(a)'s rows: with a = dy [tokens,
	// M] transposed and b = x, weight and bias gradient of a linear layer in
	// one. The bias gradient replaces what was there whatever Beta is.
	SumA
	// SumB is d = ab, and bias [N] = sums of op(b)'s columns.
	SumB
)

func (e Epilogue) String() string {
	names := [...]string{"none", "bias", "gelu_bias", "gelu_aux_bias", "dgelu", "dgelu_bias_grad", "sum_a", "sum_b"}
	if int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("Epilogue(%d)", uint8(e))
}

// usesBias and usesAux say which operands an epilogue has.
func (e Epilogue) usesBias() bool { return e != None && e != DGelu }
func (e Epilogue) usesAux() bool  { return e == GeluAuxBias || e == DGelu || e == DGeluBiasGrad }

// FLOPs returns the number of floating-point operations, a multiplication with an
// addition counted as two.
func (g Gemm) FLOPs() float64 {
	return 2 * float64(g.M) * float64(g.N) * float64(g.K) * float64(max(g.Batch, 1))
}

// String names the multiplication with all that decides how it can be computed:
// two with the same name are computed alike.
func (g Gemm) String() string {
	op := func(t bool) byte {
		if t {
			return 't'
		}
		return 'n'
	}
	s := fmt.Sprintf("%dx%dx%d %c%c %v,%v->%v %v", g.M, g.N, g.K, op(g.TransA), op(g.TransB), g.A, g.B, g.D, g.Epilogue)
	if g.Epilogue.usesBias() && g.BiasType != g.D {
		s += fmt.Sprintf(" of %v", g.BiasType)
	}
	if g.Beta != 0 {
		s += fmt.Sprintf(" beta %v", g.Beta)
	}
	if g.Alpha != 0 && g.Alpha != 1 {
		s += fmt.Sprintf(" alpha %v", g.Alpha)
	}
	if !g.Dense() {
		s += fmt.Sprintf(" rows of %d,%d->%d", g.LDA, g.LDB, g.LDD)
	}
	if g.Batch > 1 {
		s += fmt.Sprintf(" x%d by %d,%d->%d", g.Batch, g.StrideA, g.StrideB, g.StrideD)
	}
	return s
}

// widths returns the elements in a row of a, b and d as they are in memory.
func (g Gemm) widths() (a, b, d int) {
	a, b, d = g.K, g.N, g.N
	if g.TransA {
		a = g.M
	}
	if g.TransB {
		b = g.K
	}
	return a, b, d
}

// Dense reports whether the rows of all matrices follow one another.
func (g Gemm) Dense() bool {
	a, b, d := g.widths()
	return (g.LDA == 0 || g.LDA == a) && (g.LDB == 0 || g.LDB == b) && (g.LDD == 0 || g.LDD == d)
}

// complete fills in what 0 stands for, and checks the rest.
func (g Gemm) complete() (Gemm, error) {
	if g.M <= 0 || g.N <= 0 || g.K <= 0 || g.Batch < 0 {
		return g, fmt.Errorf("gemm %v: sizes must be positive", g)
	}
	a, b, d := g.widths()
	for _, l := range []struct {
		ld    *int
		width int
	}{{&g.LDA, a}, {&g.LDB, b}, {&g.LDD, d}} {
		if *l.ld == 0 {
			*l.ld = l.width
		}
		if *l.ld < l.width {
			return g, fmt.Errorf("gemm %v: rows of %d elements cannot be %d apart", g, l.width, *l.ld)
		}
	}
	if g.A != g.B || g.A == kernels.F32 && g.D == kernels.BF16 {
		return g, fmt.Errorf("gemm %v: a and b must be of one type, and d of that type or float32", g)
	}
	if g.Alpha == 0 {
		g.Alpha = 1
	}
	g.Batch = max(g.Batch, 1)
	if g.Batch > 1 && g.Epilogue != None {
		return g, fmt.Errorf("gemm %v: a batch has no epilogue", g)
	}
	return g, nil
}
