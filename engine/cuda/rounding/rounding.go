// Package rounding says how far a right computation in float32 or bfloat16 may
// be from the exact one: tests build their bounds from it.
//
// Bounds are relative, and for arrays relative in norm: ‖got-want‖ / ‖want‖. The
// unit of an error is the unit roundoff of a type, half the distance from 1 to
// the next number: 2^-24 for float32, 2^-8 for bfloat16.
//
// The emulation computes functions as exactly as the C library; a card does not.
// What it promises is in the CUDA C++ Programming Guide (mathematical functions)
// and in the PTX ISA: [Exp2], [Exp], [Log], [Rsqrt], [Divide], [SinCos], [Tanh].
package rounding

import (
	"math"

	"hatchery/engine/cuda/kernels"
)

// Unit returns the error of one rounding to nearest: never more, and 0.4 of it on the
// average over an array.
func Unit(t kernels.DType) float64 {
	if t == kernels.BF16 {
		return 0x1p-8
	}
	return 0x1p-24
}

// Units returns n roundings to float32 whose errors add up.
func Units(n float64) float64 { return n * 0x1p-24 }

// Sum returns the error of a float32 sum of n numbers that are all of one sign, or of
// random signs, in any order: √n units. Added up one after another they come to
// about 0.3√n on the average, in a tree to less; the bound for the worst case
// would be n.
func Sum(n int) float64 { return Units(math.Sqrt(float64(n))) }

// TensorSum returns the same for a sum of products of bfloat16 on tensor cores: one ulp
// for each 8. NVIDIA does not say how they add; by experiments (Fasi and others,
// Numerical behavior of NVIDIA tensor cores, 2021) it is at least 8 products and
// the sum at a time, which they shift to the largest of them and cut off behind a
// float32's last bit, or on newer ones two further, always towards zero, as then
// the result. Cutting so often one way, errors add up.
func TensorSum(n int) float64 { return ulp * math.Ceil(float64(n)/8) }

// Path returns the error behind n roundings to t, one after another, of arrays of
// hundreds of numbers: the errors are independent, so they add up in quadrature,
// and the mean square of one is at most a third of Unit's, since it is spread
// evenly. It is a quarter above what is found where nothing else is lost.
func Path(t kernels.DType, n float64) float64 { return math.Sqrt(n/3) * Unit(t) }

// ulp is the largest relative size of one unit in the last place of a float32.
const ulp = 0x1p-23

// Functions on a card, relative.
const (
	Exp2   = 2 * ulp // ex2.approx.ftz.f32
	Exp    = 2 * ulp // expf
	Log    = 1 * ulp // logf, log2f
	Rsqrt  = 2 * ulp // rsqrtf
	Divide = 2 * ulp // __fdividef
	SinCos = 2 * ulp // sincospif
	Tanh   = 0x1p-11 // tanh.approx.f32
	TanhF  = 2 * ulp // tanhf
)

// Norm returns the Euclidean norm.
func Norm[F float32 | float64](v []F) float64 {
	var s float64
	for _, x := range v {
		s += float64(x) * float64(x)
	}
	return math.Sqrt(s)
}

// Distance returns ‖got-want‖ / ‖want‖; where want is zero, ‖got‖.
func Distance[F, G float32 | float64](got []F, want []G) float64 {
	var s float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		s += d * d
	}
	if n := Norm(want); n > 0 {
		return math.Sqrt(s) / n
	}
	return math.Sqrt(s)
}
