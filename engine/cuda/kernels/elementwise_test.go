//go:build gpu

package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// Rows and widths, with ends that are not on a vector's border and rows shorter
// than a vector.
var matrices = []struct{ rows, width int }{{1, 1}, {3, 5}, {2, 8}, {37, 48}, {5, 2160}, {9, 341}}

// cdf is the absolute error of the normal distribution in the kernels of GELU,
// and of its slope: that of the approximation they take (Abramowitz and Stegun,
// 7.1.26: 7.5e-8), and of its float32 arithmetic. There tail = p(t) t bell / 2
// with bell = exp(-x²/2) ≤ 1 and |d(p t)/dt| ≤ 3.5, so an error of t (a division
// and two roundings) counts 1.7 times; Horner's rule adds 3 units, of terms up to
// 1.5; and bell has the error of 2^x, and of three roundings of an exponent whose
// product with bell is below 1.
var cdf = 7.5e-8 + 1.7*(rounding.Divide+rounding.Units(2)) + rounding.Units(3) + rounding.Exp2 + rounding.Units(3)

func TestGELU(t *testing.T) {
	on(t, func(d *device) {
		for _, m := range matrices {
			for _, dt := range dtypes {
				d.free()
				n := m.rows * m.width
				name := fmt.Sprintf("%dx%d", m.rows, m.width)
				x, dy, bias := noise(dt, "x", n), noise(dt, "dy", n), noise(kernels.F32, "bias", m.width)
				bx, bdy, bb := d.store(dt, x), d.store(dt, dy), d.store(kernels.F32, bias)
				y, none := d.out(dt, n), kernels.Buffer{}

				d.run(kernels.GELU(dt, n, m.width, y, bx, none))
				plain := d.twin(nn.GELUForward{N: n}, []int{n}, x)[0]
				d.near(name+": y", d.load(dt, y, n), plain, stored(dt)+cdf*rounding.Norm(x)/rounding.Norm(plain))
				d.run(kernels.GELUBackward(dt, n, m.width, y, bx, none, bdy))
				plain = d.twin(nn.GELUBackward{N: n}, []int{n}, x, dy)[0]
				d.near(name+": dx", d.load(dt, y, n), plain, stored(dt)+cdf*rounding.Norm(dy)/rounding.Norm(plain))

				biased := make([]float64, n)
				for i := range biased {
					biased[i] = x[i] + bias[i%m.width]
				}
				d.run(kernels.AddBias(dt, n, m.width, y, bx, bb))
				d.same(name+": x + bias", d.load(dt, y, n), roundAll(dt, roundAll(kernels.F32, biased)))
				d.run(kernels.GELU(dt, n, m.width, y, bx, bb))
				want := d.twin(nn.GELUForward{N: n}, []int{n}, biased)[0]
				// x + bias is rounded to float32, and GELU's slope is at most 1.13.
				limit := stored(dt) + (cdf+rounding.Units(1.13))*rounding.Norm(biased)/rounding.Norm(want)
				d.near(name+": y with bias", d.load(dt, y, n), want, limit)
				d.run(kernels.GELUBackward(dt, n, m.width, bdy, bx, bb, bdy))
				slope := d.twin(nn.GELUBackward{N: n}, []int{n}, biased, dy)[0]
				// The slope's own is at most 0.8, times x at most 0.6.
				d.near(name+": dx with bias, in the place of dy", d.load(dt, bdy, n), slope, stored(dt)+(cdf+rounding.Units(0.6))*rounding.Norm(dy)/rounding.Norm(slope))
				d.run(kernels.GELU(dt, n, m.width, bx, bx, bb))
				d.near(name+": y in the place of x", d.load(dt, bx, n), want, limit)
			}
		}
	})
}

// TestGELUFarOut wants the tails: 0 and x, gradients 0 and 1, no NaN.
func TestGELUFarOut(t *testing.T) {
	x := []float64{-3e38, -1e30, -40, -10, 0, 10, 40, 1e30, 3e38}
	on(t, func(d *device) {
		b, one, y := d.store(kernels.F32, x), put(d, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1}), d.out(kernels.F32, len(x))
		d.run(kernels.GELU(kernels.F32, len(x), 1, y, b, kernels.Buffer{}))
		for i, v := range d.load(kernels.F32, y, len(x)) {
			if want := max(0, x[i]); !(math.Abs(v-want) <= rounding.Units(1)*max(1, want)) {
				t.Errorf("gelu(%v) = %v, want %v", x[i], v, want)
			}
		}
		d.run(kernels.GELUBackward(kernels.F32, len(x), 1, y, b, kernels.Buffer{}, one))
		for i, v := range d.load(kernels.F32, y, len(x)) {
			want := 0.5 // at 0
			if x[i] != 0 {
				want = max(0, math.Copysign(1, x[i]))
			}
			if !(math.Abs(v-want) <= cdf) {
				t.Errorf("slope at %v is %v, want %v", x[i], v, want)
			}
		}
	})
}

func TestSumsOfTwo(t *testing.T) {
	on(t, func(d *device) {
		for _, m := range matrices {
			for _, dt := range dtypes {
				d.free()
				n := m.rows * m.width
				name := fmt.Sprintf("%dx%d", m.rows, m.width)
				x, f, scale := noise(dt, "x", n), noise(dt, "f", n), drops(m.rows)
				bx, bf, bs := d.store(dt, x), d.store(dt, f), d.store(kernels.F32, scale)
				y, none := d.out(dt, n), kernels.Buffer{}

				d.run(kernels.Add(dt, n, y, bx, bf))
				d.near(name+": a + b", d.load(dt, y, n), d.twin(graph.Add{N: n}, []int{n}, x, f)[0], stored(dt))
				d.run(kernels.Residual(dt, m.rows, m.width, y, bx, bf, none))
				d.near(name+": residual", d.load(dt, y, n), plus(x, f), stored(dt))
				d.run(kernels.ScaleSamples(dt, m.rows, m.width, y, bx, bs))
				d.near(name+": scaled", d.load(dt, y, n), d.twin(nn.ScaleSamples{B: m.rows, N: m.width}, []int{n}, x, scale)[0], stored(dt))
				want := d.twin(nn.ResidualForward{B: m.rows, N: m.width, DropPath: true}, []int{n}, x, f, scale)[0]
				d.run(kernels.Residual(dt, m.rows, m.width, y, bx, bf, bs))
				d.near(name+": residual with drop path", d.load(dt, y, n), want, stored(dt))
				d.run(kernels.Residual(dt, m.rows, m.width, bf, bx, bf, bs))
				d.same(name+": residual in the place of the branch", d.load(dt, bf, n), d.load(dt, y, n))

				sum := noise(kernels.F32, "sum", n)
				bsum := d.store(kernels.F32, sum)
				d.run(kernels.Accumulate(dt, n, bsum, bx))
				d.same(name+": accumulated", d.load(kernels.F32, bsum, n), roundAll(kernels.F32, plus(sum, x)))
			}
		}
	})
}

func TestCasts(t *testing.T) {
	x := append(noise(kernels.F32, "x", 1005), 0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1),
		1+1./256, 1+3./256, // ties: to even, down and up
		math.MaxFloat32, // to infinity
		math.SmallestNonzeroFloat32)
	n := len(x)
	on(t, func(d *device) {
		wide, half := d.store(kernels.F32, x), d.out(kernels.BF16, n)
		d.run(kernels.CastToBF16(n, half, wide))
		d.same("bfloat16", d.load(kernels.BF16, half, n), roundAll(kernels.BF16, x))
		nan := d.store(kernels.F32, []float64{math.NaN()})
		d.run(kernels.CastToBF16(1, half, nan))
		if v := d.load(kernels.BF16, half, 1)[0]; v == v {
			t.Errorf("NaN becomes %v", v)
		}
	})
}
