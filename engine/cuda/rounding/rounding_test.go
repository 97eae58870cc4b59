package rounding

import (
	"math"
	"math/rand/v2"
	"testing"

	"hatchery/engine/cuda/kernels"
)

// round rounds to nearest, and even.
func round(t kernels.DType, x float64) float64 {
	f := float32(x)
	if t == kernels.BF16 {
		u := math.Float32bits(f)
		f = math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
	}
	return float64(f)
}

// within wants an error of at most a bound, and one that comes near enough for
// the bound to mean something.
func within(t *testing.T, what string, e, bound, least float64) {
	t.Helper()
	t.Logf("%s: %.2e, %.2f of the bound", what, e, e/bound)
	if !(e <= bound && e >= least*bound) {
		t.Errorf("%s: error %.2e, want at most %.2e and at least %g of it", what, e, bound, least)
	}
}

func TestRoundings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		worst := 0.0
		for range 10000 {
			x := 1 + r.Float64()
			worst = max(worst, math.Abs(round(dtype, x)/x-1))
		}
		within(t, dtype.String()+" once", worst, Unit(dtype), 0.95)
		for _, n := range []int{1, 4, 30} {
			x := make([]float64, 1000)
			for i := range x {
				x[i] = r.NormFloat64()
			}
			y := append([]float64{}, x...)
			for range n {
				factor := 0.9 + 0.2*r.Float64()
				for i := range x {
					x[i] *= factor
					y[i] = round(dtype, y[i]*factor)
				}
			}
			within(t, dtype.String()+" repeatedly", Distance(y, x), Path(dtype, float64(n)), 0.6)
		}
	}
}

func TestSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{10, 100, 1000, 10000} {
		for what, next := range map[string]func() float64{"signed": r.NormFloat64, "positive": r.Float64} {
			var right []float64
			var got []float32
			for range 50 {
				var a float32
				var b float64
				for range n {
					x := float32(next())
					a += x
					b += float64(x)
				}
				got, right = append(got, a), append(right, b)
			}
			within(t, what, Distance(got, right), Sum(n), 0.1)
		}
	}
}

// TestTensorSums adds products as the first tensor cores seem to do.
func TestTensorSums(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	// cut leaves the bits of x down to 2^last.
	cut := func(x float64, last int) float64 { return math.Ldexp(math.Trunc(math.Ldexp(x, -last)), last) }
	exponent := func(x float64) int { _, e := math.Frexp(x); return e }
	for _, n := range []int{16, 64, 768} {
		var got, right []float64
		for range 200 {
			var a, b float64
			for range n / 8 {
				addends := []float64{a}
				top := exponent(a)
				for range 8 {
					x := round(kernels.BF16, r.Float64()) * round(kernels.BF16, r.Float64())
					b += x
					addends = append(addends, x)
					top = max(top, exponent(x))
				}
				a = 0
				for _, x := range addends {
					a += cut(x, top-24)
				}
				a = cut(a, exponent(a)-24)
			}
			got, right = append(got, a), append(right, b)
		}
		within(t, "tensor cores", Distance(got, right), TensorSum(n), 0.1)
	}
}
