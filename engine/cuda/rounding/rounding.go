// Package rounding computes how far a correct computation in float32 or bfloat16 may be from
// the exact result. Tests build their bounds from it.
//
// Bounds are relative, and for arrays relative in norm: ‖got-want‖ / ‖want‖. The
// unit of an error is the unit roundoff of a type, half the distance from 1 to
// the next number: 2^-24 for float32, 2^-8 for bfloat16.
//
// The emulation computes functions as exactly as the C library; a card does not. The bounds
// for cards are from the CUDA C++ Programming Guide (mathematical functions) and the PTX ISA: [Exp2], [Exp], [Log], [Rsqrt], [Divide], [SinCos], [Tanh].
package rounding

import (
	"math"

	"hatchery/engine/cuda/kernels"
)

// Unit returns the maximum error of one rounding to nearest. The average over an array is 0.4
// of it.
func Unit(t kernels.DType) float64 {
	if t == kernels.BF16 {
		return 0x1p-8
	}
	return 0x1p-24
}

// Units returns the error of n roundings to float32 whose errors add up.
func Units(n float64) float64 { return n * 0x1p-24 }

// Sum returns the error of a float32 sum of n numbers that are all of one sign, or of
// random signs, in any order: √n units. For sequential sums the average error is about 0.3√n,
// for trees it is less; the bound for the worst case would be n.
func Sum(n int) float64 { return Units(math.Sqrt(float64(n))) }

// TensorSum returns the same for a sum of products of bfloat16 on tensor cores: one ulp
// for each 8. NVIDIA does not document how they add. According to experiments (Fasi and
// others, Numerical behavior of NVIDIA tensor cores, 2021) they add at least 8 products and
// the sum at a time, align these to the largest, and truncate them after the last bit of a
// float32, or on newer cards two bits further; they truncate the result too. As all
// truncations go towards zero, errors add up.
func TensorSum(n int) float64 { return ulp * math.Ceil(float64(n)/8) }

// Path returns the error after n successive roundings to t of arrays of hundreds of numbers.
// The errors are independent, so their squares add up, and the mean square of one is at most
// a third of Unit's square, since it is uniformly distributed. The result is a quarter above
// the measured error of computations without other losses.
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

// Distance returns ‖got-want‖ / ‖want‖, or ‖got‖ if want is zero.
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
