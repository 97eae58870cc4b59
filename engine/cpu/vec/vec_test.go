package vec

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"hatchery/engine/cpu/isa"
	"hatchery/engine/random"
)

// kernel is a function whose operands are slices of one length and a few scalars. It may
// write to the first `written` slices.
type kernel struct {
	name    string
	slices  int
	written int
	bytes   int // moved per element, for comparison with the roof
	run     func(s [][]float32) []float32
}

var kernels = []kernel{
	{"Scale", 2, 1, 8, func(s [][]float32) []float32 { Scale(s[0], s[1], 1.7); return nil }},
	{"AddScaled", 3, 1, 12, func(s [][]float32) []float32 { AddScaled(s[0], s[1], s[2], -0.3); return nil }},
	{"GELU", 2, 1, 8, func(s [][]float32) []float32 { GELU(s[0], s[1]); return nil }},
	{"GELUBackward", 3, 1, 12, func(s [][]float32) []float32 { GELUBackward(s[0], s[1], s[2]); return nil }},
	{"AdamW", 4, 3, 28, func(s [][]float32) []float32 {
		AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05, Step: 3, GradScale: 0.8}.Update(s[0], s[1], s[2], s[3])
		return nil
	}},
	{"ColumnSums", 2, 1, 8, func(s [][]float32) []float32 {
		n := len(s[1]) / 3
		ColumnSums(s[0][:n], s[1], 3, n)
		return nil
	}},
	{"Softmax", 2, 1, 8, func(s [][]float32) []float32 { Softmax(s[0], s[1], 0.125); return nil }},
	{"SoftmaxBackward", 3, 1, 12, func(s [][]float32) []float32 { SoftmaxBackward(s[0], s[1], s[2], 0.125); return nil }},
	{"LayerNorm", 4, 1, 8, func(s [][]float32) []float32 {
		mean, rstd := LayerNorm(s[0], s[1], s[2], s[3], 1e-6)
		return []float32{mean, rstd}
	}},
	{"LayerNormBackward", 6, 3, 12, func(s [][]float32) []float32 {
		LayerNormBackward(s[0], s[3], s[4], s[5], s[1], s[2], nil, 0.2, 1.3)
		return nil
	}},
	{"LayerNormBackward plus", 7, 3, 16, func(s [][]float32) []float32 {
		LayerNormBackward(s[0], s[3], s[4], s[5], s[1], s[2], s[6], 0.2, 1.3)
		return nil
	}},
}

const canary = 12345.678

// at runs the kernel at level l on copies of the slices and returns these and the results.
// The copies are unaligned and have canaries on both sides.
func (k *kernel) at(t *testing.T, l isa.Level, in [][]float32) [][]float32 {
	t.Helper()
	before, err := isa.Use(l)
	if err != nil {
		t.Fatal(err)
	}
	defer isa.Use(before)
	var whole, work [][]float32
	for i, x := range in {
		w := make([]float32, len(x)+50)
		for j := range w {
			w[j] = canary
		}
		inner := w[17+i:][:len(x):len(x)]
		copy(inner, x)
		whole, work = append(whole, w), append(work, inner)
	}
	result := k.run(work)
	for i, w := range whole {
		for j, v := range w {
			if inside := j >= 17+i && j < 17+i+len(in[i]); !inside && v != canary {
				t.Fatalf("%s, %v, n=%d: slice %d was written at %d", k.name, l, len(in[i]), i, j-17-i)
			}
		}
		if i >= k.written {
			same(t, fmt.Sprintf("%s, %v: input %d", k.name, l, i), work[i], in[i])
		}
	}
	return append(work, result)
}

// same fails the test if got and want differ in a bit; all NaNs are equal.
func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d results, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
			t.Fatalf("%s: element %d of %d is %g (%08x), want %g (%08x)", what, i, len(want), g, math.Float32bits(g), w, math.Float32bits(w))
		}
	}
}

// TestGolden compares with the bits that every machine and instruction set must give.
func TestGolden(t *testing.T) {
	golden := map[string]uint32{
		"Scale":                  0x192f4b1a,
		"AddScaled":              0xfc156af9,
		"GELU":                   0x14d300ab,
		"GELUBackward":           0x4f3fcf6a,
		"AdamW":                  0x9218dbcb,
		"ColumnSums":             0x7d19368f,
		"Softmax":                0x2317ea80,
		"SoftmaxBackward":        0xdcfd4a80,
		"LayerNorm":              0x198e5d82,
		"LayerNormBackward":      0xf3990bc1,
		"LayerNormBackward plus": 0xfb2537e5,
	}
	for l := isa.Go; l <= isa.Best(); l++ {
		for _, k := range kernels {
			r := random.New(2, "golden "+k.name)
			in := make([][]float32, k.slices)
			for i := range in {
				in[i] = make([]float32, 333)
				for j := range in[i] {
					in[i][j] = float32(r.IntN(1<<24)-1<<23) * 0x1p-21
				}
			}
			h := fnv.New32a()
			for _, x := range k.at(t, l, in) {
				for _, v := range x {
					if v != v {
						v = float32(math.NaN())
					}
					h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
				}
			}
			if got := h.Sum32(); got != golden[k.name] {
				t.Errorf("%s, %v: the hash of the results is %#x, want %#x", k.name, l, got, golden[k.name])
			}
		}
	}
}

var odd = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-40, -1e-40, 0x1p-126, math.MaxFloat32, -math.MaxFloat32,
	88.7, 88.73, 89, -87.3, -87.34, -100, -103.9, -104, -104.5, 1e-20, 1e20, -1e20, 5.5, -5.5,
}

// numbers draws n floats: kind 0 usual ones, 1 of all magnitudes, 2 any bits, 3 from odd.
func numbers(r *random.Stream, n, kind int) []float32 {
	x := make([]float32, n)
	for i := range x {
		switch kind {
		case 0:
			x[i] = float32(r.NormFloat64()) * 3
		case 1:
			x[i] = float32(r.NormFloat64() * math.Exp2(r.Float64()*60-45))
		case 2:
			x[i] = math.Float32frombits(r.Uint32())
		case 3:
			x[i] = odd[r.IntN(len(odd))]
		}
	}
	return x
}

// TestLevels checks that every instruction set gives the bits of the code in Go.
func TestLevels(t *testing.T) {
	if isa.Best() == isa.Go {
		t.Skip("this CPU runs only the code in Go")
	}
	r := random.New(1, "vec")
	for _, k := range kernels {
		lengths := []int{100, 192, 8191, 8192 + 21}
		for n := range 70 {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			for kind := range 4 {
				in := make([][]float32, k.slices)
				for i := range in {
					in[i] = numbers(r, n, kind)
					if kind == 3 && r.IntN(2) == 0 { // a single odd value, so that not everything becomes NaN
						in[i] = numbers(r, n, 0)
						if n > 0 {
							in[i][r.IntN(n)] = odd[r.IntN(len(odd))]
						}
					}
				}
				want := k.at(t, isa.Go, in)
				for l := isa.AVX2; l <= isa.Best(); l++ {
					for i, got := range k.at(t, l, in) {
						same(t, fmt.Sprintf("%s, %v, n=%d, kind %d: slice %d", k.name, l, n, kind, i), got, want[i])
					}
				}
			}
		}
	}
}

// atAll runs f at every level.
func atAll(t *testing.T, f func(t *testing.T)) {
	for l := isa.Go; l <= isa.Best(); l++ {
		t.Run(l.String(), func(t *testing.T) {
			before, err := isa.Use(l)
			if err != nil {
				t.Fatal(err)
			}
			defer isa.Use(before)
			f(t)
		})
	}
}

// TestExp checks the exponential function in Go, with which that in assembly is compared.
func TestExp(t *testing.T) {
	for v := float32(-104); v < 88.7; v += 0.00173 {
		want := math.Exp(float64(v))
		ulp := math.Max(0x1p-149, math.Exp2(math.Floor(math.Log2(want))-23))
		if d := math.Abs(float64(exp(v)) - want); !(d <= 1.0*ulp) {
			t.Fatalf("exp(%g) = %g, want %g, %g units in the last place off", v, exp(v), want, d/ulp)
		}
	}
	if e := exp(float32(math.NaN())); e == e {
		t.Errorf("exp hides a NaN: %v", e)
	}
}

func finite(x float32) bool { return x-x == 0 }

func cdf(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

func TestGELU(t *testing.T) {
	atAll(t, func(t *testing.T) {
		var x []float32
		for v := float32(-9); v < 9; v += 0.0007 {
			x = append(x, v)
		}
		y, dx, dy := make([]float32, len(x)), make([]float32, len(x)), make([]float32, len(x))
		for i := range dy {
			dy[i] = -2
		}
		GELU(y, x)
		GELUBackward(dx, dy, x)
		for i, f := range x {
			v := float64(f)
			if want := v * cdf(v); math.Abs(float64(y[i])-want) > 4e-7+6e-8*math.Abs(v) {
				t.Fatalf("gelu(%g) = %g, want %g", v, y[i], want)
			}
			if want := -2 * (cdf(v) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)); math.Abs(float64(dx[i])-want) > 6e-7 {
				t.Fatalf("gradient of gelu at %g times -2 = %g, want %g", v, dx[i], want)
			}
		}
		bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
		GELU(y, bad)
		GELUBackward(dx, dy, bad)
		for i := range bad {
			if finite(y[i]) || finite(dx[i]) {
				t.Errorf("gelu and its gradient hide %g: %g, %g", bad[i], y[i], dx[i])
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	r := random.New(3, "vec")
	atAll(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 65, 197, 785} {
			x, dy := numbers(r, n, 0), numbers(r, n, 0)
			y, dx, p := make([]float32, n), make([]float32, n), make([]float64, n)
			Softmax(y, x, 0.125)
			SoftmaxBackward(dx, dy, y, 0.125)
			var sum, dot float64
			for i, v := range x {
				p[i] = math.Exp(0.125 * float64(v))
				sum += p[i]
			}
			for i := range p {
				p[i] /= sum
				dot += p[i] * float64(dy[i])
			}
			for i := range p {
				if math.Abs(float64(y[i])-p[i]) > 1e-6*p[i] {
					t.Fatalf("n=%d: softmax %d is %g, want %g", n, i, y[i], p[i])
				}
				if want := 0.125 * p[i] * (float64(dy[i]) - dot); math.Abs(float64(dx[i])-want) > 2e-6*p[i] {
					t.Fatalf("n=%d: gradient %d is %g, want %g", n, i, dx[i], want)
				}
			}
		}
		x := []float32{1000, 999, -1000}
		y := make([]float32, 3)
		if Softmax(y, x, 1); math.Abs(float64(y[0])-0.7310586) > 1e-6 || y[2] != 0 {
			t.Errorf("softmax of large numbers is %v", y)
		}
		for _, kind := range []int{1, 3} { // shares of a wide range
			x, y := numbers(r, 50, 0), make([]float32, 50)
			for i := range x {
				x[i] *= 20 * float32(kind)
			}
			Softmax(y, x, 1)
			top := float64(slices.Max(x))
			var sum float64
			for _, v := range x {
				sum += math.Exp(float64(v) - top)
			}
			for i, v := range x {
				if want := math.Exp(float64(v)-top) / sum; math.Abs(float64(y[i])-want) > 2e-6*want+2e-35 {
					t.Fatalf("softmax of %g below the largest is %g, want %g", top-float64(v), y[i], want)
				}
			}
		}
		x[1] = float32(math.NaN())
		if Softmax(y, x, 1); y[0] == y[0] || y[2] == y[2] {
			t.Errorf("softmax hides a NaN: %v", y)
		}
	})
}

// TestLayerNorm compares the gradient with differences in float64.
func TestLayerNorm(t *testing.T) {
	const n, eps = 37, 1e-2 // large enough to matter
	r := random.New(4, "vec")
	x, w, b, dy, plus := numbers(r, n, 0), numbers(r, n, 0), numbers(r, n, 0), numbers(r, n, 0), numbers(r, n, 0)
	norm := func(x []float64) (y []float64, mean, rstd float64) {
		var v float64
		for _, e := range x {
			mean += e / n
		}
		for _, e := range x {
			v += (e - mean) * (e - mean) / n
		}
		rstd = 1 / math.Sqrt(v+eps)
		for i, e := range x {
			y = append(y, (e-mean)*rstd*float64(w[i])+float64(b[i]))
		}
		return y, mean, rstd
	}
	x64 := make([]float64, n)
	for i, v := range x {
		x64[i] = float64(v)
	}
	want, wantMean, wantRstd := norm(x64)
	atAll(t, func(t *testing.T) {
		near := func(what string, i int, got float32, want, tol float64) {
			t.Helper()
			if !(math.Abs(float64(got)-want) <= tol*(1+math.Abs(want))) {
				t.Errorf("%s %d is %g, want %g", what, i, got, want)
			}
		}
		y, dx, dw, db := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		mean, rstd := LayerNorm(y, x, w, b, eps)
		near("mean", 0, mean, wantMean, 1e-6)
		near("rstd", 0, rstd, wantRstd, 1e-6)
		LayerNormBackward(dx, dy, x, w, dw, db, plus, mean, rstd)
		LayerNormBackward(dx, dy, x, w, dw, db, plus, mean, rstd) // dw and db add up
		for i := range n {
			near("y", i, y[i], want[i], 2e-6)
			const h = 1e-4
			up, down := append([]float64(nil), x64...), append([]float64(nil), x64...)
			up[i] += h
			down[i] -= h
			yu, _, _ := norm(up)
			yd, _, _ := norm(down)
			g := float64(plus[i])
			for j := range n {
				g += float64(dy[j]) * (yu[j] - yd[j]) / (2 * h)
			}
			near("dx", i, dx[i], g, 3e-6)
			near("dw", i, dw[i], 2*float64(dy[i])*(x64[i]-wantMean)*wantRstd, 3e-6)
			near("db", i, db[i], 2*float64(dy[i]), 1e-6)
		}
	})
}

func TestAdamW(t *testing.T) {
	const n, lr, b1, b2, eps, wd = 50, 0.01, 0.9, 0.999, 1e-8, 0.05
	r := random.New(5, "vec")
	start := numbers(r, n, 0)
	atAll(t, func(t *testing.T) {
		p, m, v := append([]float32(nil), start...), make([]float32, n), make([]float32, n)
		q, qm, qv := make([]float64, n), make([]float64, n), make([]float64, n)
		for i, x := range start {
			q[i] = float64(x)
		}
		r := random.New(6, "vec")
		for step := 1; step <= 20; step++ {
			grad := numbers(r, n, 0)
			AdamW{lr, b1, b2, eps, wd, step, 0.5}.Update(p, m, v, grad)
			for i := range q {
				d := float64(grad[i]) * 0.5
				q[i] -= lr * wd * q[i]
				qm[i] = b1*qm[i] + (1-b1)*d
				qv[i] = b2*qv[i] + (1-b2)*d*d
				q[i] -= lr * qm[i] / (1 - math.Pow(b1, float64(step))) / (math.Sqrt(qv[i]/(1-math.Pow(b2, float64(step)))) + eps)
			}
		}
		for i := range q {
			if math.Abs(float64(p[i])-q[i]) > 2e-6*(1+math.Abs(q[i])) {
				t.Errorf("weight %d is %g after 20 steps, want %g", i, p[i], q[i])
			}
		}
	})
}

func TestColumnSums(t *testing.T) {
	atAll(t, func(t *testing.T) {
		bias := []float32{1, 2, 3}
		ColumnSums(bias, []float32{1, 2, 3, 99, 10, 20, 30, 99, 100, 200, 300}, 3, 4)
		same(t, "column sums", bias, []float32{112, 224, 336})
	})
}

func TestNoAllocation(t *testing.T) {
	for _, k := range kernels {
		in := make([][]float32, k.slices)
		for i := range in {
			in[i] = make([]float32, 10000)
		}
		if n := testing.AllocsPerRun(10, func() { k.run(in) }); n > 1 || n > 0 && k.written > 0 && k.name != "LayerNorm" {
			t.Errorf("%s allocates %v times a call", k.name, n)
		}
	}
}

// BenchmarkKernels reports ns per element and bytes per second for rows of 192, operands in
// the L2 cache and operands in memory. Roof is a copy. The code in Go is too slow for the
// location of its operands to matter.
func BenchmarkKernels(b *testing.B) {
	r := random.New(8, "vec")
	roof := kernel{"Roof", 2, 1, 8, func(s [][]float32) []float32 { copy(s[0], s[1]); return nil }}
	for _, n := range []int{192, 1 << 15, 1 << 24} {
		inputs, outputs := numbers(r, 4*n, 0), make([]float32, 3*n)
		for _, k := range append(kernels, roof) {
			in := make([][]float32, k.slices)
			copy(outputs, inputs)
			for i := range in {
				if i < k.written {
					in[i] = outputs[i*n:][:n:n]
				} else {
					in[i] = inputs[(i-k.written)*n:][:n:n]
				}
			}
			for l := isa.Go; l <= isa.Best(); l++ {
				if l == isa.Go && n > 1<<15 {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d/%v", k.name, n, l), func(b *testing.B) {
					before, err := isa.Use(l)
					if err != nil {
						b.Fatal(err)
					}
					defer isa.Use(before)
					b.SetBytes(int64(n * k.bytes))
					for b.Loop() {
						k.run(in)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
				})
			}
		}
	}
}
