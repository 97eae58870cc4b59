//go:build gpu

package blas_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
)

// opened is a device with a handle in a stream of its own, which all tests share.
type opened struct {
	*driver.Device
	s *driver.Stream
	h *blas.Handle
}

var card = emulation.Share(func() (*opened, *driver.Device, error) {
	d, err := driver.Open(0)
	if err != nil {
		return nil, nil, err
	}
	o := &opened{Device: d}
	err = d.Do(func(c *driver.Context) (err error) {
		if o.s, err = c.Stream(); err != nil {
			return err
		}
		o.h, err = blas.New(c, o.s)
		return err
	})
	if err != nil {
		d.Close()
	}
	return o, d, err
}, func(o *opened) {
	o.Do(func(*driver.Context) error { return errors.Join(o.h.Destroy(), o.s.Destroy()) })
	o.Close()
})

func TestMain(m *testing.M) { os.Exit(emulation.Main(m)) }

// device is what a test works with: on the device's thread, so within with. What
// it places is given back at the end.
type device struct {
	*testing.T
	c      *driver.Context
	s      *driver.Stream
	h      *blas.Handle
	placed []driver.Ptr
}

// with runs f on the first device.
func with(t *testing.T, f func(d *device)) {
	t.Helper()
	emulation.Start(t)
	o := card.Get(t)
	err := o.Do(func(c *driver.Context) error {
		d := &device{T: t, c: c, s: o.s, h: o.h}
		defer func() {
			for _, p := range d.placed {
				if err := c.Free(p); err != nil {
					t.Error(err)
				}
			}
		}()
		f(d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// array is a matrix or vector on the host, and where it lies on the device.
type array struct {
	t      kernels.DType
	values []float32 // as the device has them
	p      driver.Ptr
}

// round returns v rounded to a type.
func round(t kernels.DType, v float32) float32 {
	if t == kernels.F32 {
		return v
	}
	u := math.Float32bits(v)
	return math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
}

// place allocates n pseudo-random numbers on the device.
func (d *device) place(dtype kernels.DType, n int, seed uint32) *array {
	d.Helper()
	a := &array{t: dtype, values: make([]float32, n)}
	for i := range a.values {
		seed = seed*1664525 + 1013904223
		a.values[i] = round(dtype, float32(int32(seed)>>8)/(1<<23))
	}
	var err error
	if a.p, err = d.c.Alloc(int64(n * dtype.Size())); err != nil {
		d.Fatal(err)
	}
	d.placed = append(d.placed, a.p)
	if dtype == kernels.F32 {
		err = driver.Upload(d.s, a.p, a.values)
	} else {
		half := make([]uint16, n)
		for i, v := range a.values {
			half[i] = uint16(math.Float32bits(v) >> 16)
		}
		err = driver.Upload(d.s, a.p, half)
	}
	if err != nil {
		d.Fatal(err)
	}
	return a
}

// read copies an array's values from the device.
func (d *device) read(a *array) []float32 {
	d.Helper()
	v := make([]float32, len(a.values))
	if a.t == kernels.F32 {
		if err := driver.Download(d.s, v, a.p); err != nil {
			d.Fatal(err)
		}
		return v
	}
	half := make([]uint16, len(v))
	if err := driver.Download(d.s, half, a.p); err != nil {
		d.Fatal(err)
	}
	for i, h := range half {
		v[i] = math.Float32frombits(uint32(h) << 16)
	}
	return v
}

func gelu(x float64) float64 { return 0.5 * x * (1 + math.Tanh(inner(x))) }
func inner(x float64) float64 {
	return math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x)
}
func geluGradient(x float64) float64 {
	const h = 1e-5
	return (gelu(x+h) - gelu(x-h)) / (2 * h)
}

// near checks that the relative error in norm is at most limit (see package rounding).
func (d *device) near(what string, got []float32, want []float64, limit float64) {
	d.Helper()
	e := rounding.Distance(got, want)
	d.Logf("%s: error %.1e, at most %.1e", what, e, limit)
	if !(e <= limit) {
		d.Errorf("%s is %.2g away, relative in norm, at most %.2g", what, e, limit)
	}
}

// TestGemm compares every epilogue, in both types and all transpositions, with
// the definition in float64.
func TestGemm(t *testing.T) {
	const m, n, k = 24, 40, 56
	type types struct{ in, out kernels.DType }
	for _, y := range []types{{kernels.F32, kernels.F32}, {kernels.BF16, kernels.BF16}, {kernels.BF16, kernels.F32}} {
		for e := blas.None; e <= blas.SumB; e++ {
			for trans := range 4 {
				for _, beta := range []float32{0, 1} {
					g := blas.Gemm{M: m, N: n, K: k, TransA: trans&1 != 0, TransB: trans&2 != 0, A: y.in, B: y.in, D: y.out,
						Alpha: 0.5, Beta: beta, Epilogue: e, BiasType: y.out}
					// A subtest has a thread of its own, on which there is no context.
					t.Run(fmt.Sprintf("%v beta %v", g, beta), func(t *testing.T) {
						with(t, func(d *device) { d.compare(d.h, g) })
					})
				}
			}
		}
	}
}

func (d *device) compare(h *blas.Handle, g blas.Gemm) {
	p, err := h.Plan(g)
	if errors.Is(err, blas.ErrUnsupported) && emulation.OnCard() {
		d.Log("not compared: ", err)
		return
	}
	if err != nil {
		d.Fatal(err)
	}
	a, b := d.place(g.A, g.M*g.K, 1), d.place(g.B, g.K*g.N, 2)
	to, bias, aux := d.place(g.D, g.M*g.N, 3), d.place(g.BiasType, max(g.M, g.N), 4), d.place(g.D, g.M*g.N, 5)
	if err := p.Run(a.p, b.p, to.p, bias.p, aux.p); err != nil {
		d.Fatal(err)
	}
	at := func(i, l int) float64 {
		if g.TransA {
			return float64(a.values[l*g.M+i])
		}
		return float64(a.values[i*g.K+l])
	}
	bt := func(l, j int) float64 {
		if g.TransB {
			return float64(b.values[j*g.K+l])
		}
		return float64(b.values[l*g.N+j])
	}
	wantD, wantBias, wantAux := make([]float64, g.M*g.N), make([]float64, max(g.M, g.N)), make([]float64, g.M*g.N)
	var linear []float64 // what a GELU, or its slope, is of or multiplies
	for i := range wantBias {
		wantBias[i] = float64(bias.values[i])
	}
	clear(wantBias[:map[blas.Epilogue]int{blas.DGeluBiasGrad: g.N, blas.SumA: g.M, blas.SumB: g.N}[g.Epilogue]]) // replaced, not added to
	for i := range g.M {
		for j := range g.N {
			var v float64
			for l := range g.K {
				v += at(i, l) * bt(l, j)
			}
			o := i*g.N + j
			v = v*float64(g.Alpha) + float64(g.Beta)*float64(to.values[o])
			wantAux[o] = float64(aux.values[o])
			switch g.Epilogue {
			case blas.Bias, blas.GeluBias, blas.GeluAuxBias:
				v += float64(bias.values[j])
			}
			linear = append(linear, v)
			switch g.Epilogue {
			case blas.GeluBias:
				v = gelu(v)
			case blas.GeluAuxBias:
				wantAux[o] = v
				v = gelu(v)
			case blas.DGelu:
				v *= geluGradient(float64(aux.values[o]))
			case blas.DGeluBiasGrad:
				v *= geluGradient(float64(aux.values[o]))
				wantBias[j] += v
			}
			wantD[o] = v
		}
	}
	for l := range g.K {
		for i := range g.M {
			if g.Epilogue == blas.SumA {
				wantBias[i] += at(i, l)
			}
		}
		for j := range g.N {
			if g.Epilogue == blas.SumB {
				wantBias[j] += bt(l, j)
			}
		}
	}
	// The product, and its scaling and sum with d and bias.
	product := sum(g) + rounding.Units(4)
	limitD := product + rounding.Unit(g.D)
	var limitAux, limitBias float64 // of what an epilogue leaves alone
	// GELU is x (1 + tanh)/2. Its slope, (1 + tanh)/2 + x (1 - tanh²)/2 times that
	// of the argument, follows tanh by at most 1.2 for |x| < 1.
	switch g.Epilogue {
	case blas.GeluBias, blas.GeluAuxBias:
		limitD += (tanh()/2 + product + rounding.Units(8)) * rounding.Norm(linear) / rounding.Norm(wantD)
		if g.Epilogue == blas.GeluAuxBias {
			limitAux = product + rounding.Unit(g.D)
		}
	case blas.SumA, blas.SumB:
		limitBias = rounding.Sum(g.K) + rounding.Unit(g.BiasType)
	case blas.DGelu, blas.DGeluBiasGrad:
		wrong := (1.2*tanh() + rounding.Units(12)) * rounding.Norm(linear)
		limitD += wrong / rounding.Norm(wantD)
		if g.Epilogue == blas.DGeluBiasGrad {
			// Of each column's M numbers. What tanh does to them may have one sign.
			limitBias = (product+rounding.Sum(g.M))*rounding.Norm(wantD)/rounding.Norm(wantBias) + math.Sqrt(float64(g.M))*wrong/rounding.Norm(wantBias)
			limitBias += rounding.Unit(g.BiasType)
		}
	}
	d.near("d", d.read(to), wantD, limitD)
	d.near("bias", d.read(bias), wantBias, limitBias)
	d.near("aux", d.read(aux), wantAux, limitAux)
}

// sum returns the error of the sums in a multiplication.
func sum(g blas.Gemm) float64 {
	if g.A == kernels.BF16 {
		return rounding.TensorSum(g.K)
	}
	return rounding.Sum(g.K)
}

// tanh returns the error of the function in cublasLt's epilogues: on a card, that of the
// instruction, since NVIDIA documents no other.
func tanh() float64 {
	if emulation.OnCard() {
		return rounding.Tanh
	}
	return rounding.TanhF
}

// TestStrides multiplies a batch whose matrices are parts of wider ones, as the
// heads in the output of a qkv layer.
func TestStrides(t *testing.T) {
	const batch, m, n, k, ld = 3, 8, 16, 24, 72
	with(t, func(d *device) {
		p, err := d.h.Plan(blas.Gemm{M: m, N: n, K: k, TransB: true, A: kernels.F32, B: kernels.F32, D: kernels.F32,
			LDA: ld, LDB: ld, LDD: 20, Batch: batch, StrideA: 24, StrideB: 24, StrideD: m * 20})
		if err != nil {
			t.Fatal(err)
		}
		a, b := d.place(kernels.F32, m*ld, 1), d.place(kernels.F32, n*ld, 2)
		to := d.place(kernels.F32, batch*m*20, 3)
		if err := p.Run(a.p, b.p, to.p, 0, 0); err != nil {
			t.Fatal(err)
		}
		want := make([]float64, len(to.values))
		for i, v := range to.values {
			want[i] = float64(v) // between the rows nothing changes
		}
		for z := range batch {
			for i := range m {
				for j := range n {
					var v float64
					for l := range k {
						v += float64(a.values[i*ld+24*z+l]) * float64(b.values[j*ld+24*z+l])
					}
					want[z*m*20+i*20+j] = v
				}
			}
		}
		d.near("d", d.read(to), want, rounding.Sum(k)+rounding.Units(2))
	})
}

func TestCaptured(t *testing.T) {
	with(t, func(d *device) {
		g := blas.Gemm{M: 16, N: 16, K: 16, A: kernels.F32, B: kernels.F32, D: kernels.F32, Beta: 1}
		p, err := d.h.Plan(g)
		if err != nil {
			t.Fatal(err)
		}
		a, b, to := d.place(kernels.F32, 256, 1), d.place(kernels.F32, 256, 2), d.place(kernels.F32, 256, 3)
		if err := d.s.BeginCapture(); err != nil {
			t.Fatal(err)
		}
		if err := p.Run(a.p, b.p, to.p, 0, 0); err != nil {
			t.Fatal(err)
		}
		graph, err := d.s.EndCapture()
		if err != nil {
			t.Fatal(err)
		}
		defer graph.Destroy()
		exec, err := graph.Instantiate()
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Destroy()
		if !slices.Equal(d.read(to), to.values) {
			t.Error("a captured multiplication ran")
		}
		want := widen(to.values)
		for range 3 {
			if err := exec.Launch(d.s); err != nil {
				t.Fatal(err)
			}
			for i := range 256 {
				for l := range 16 {
					want[i] += float64(a.values[i/16*16+l]) * float64(b.values[l*16+i%16])
				}
			}
		}
		d.near("after three launches", d.read(to), want, 3*(rounding.Sum(16)+rounding.Units(2)))
	})
}

func widen(v []float32) []float64 {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = float64(v[i])
	}
	return w
}

// TestFallback tests libraries that lack kernels, or in which cublasLt does not work.
func TestFallback(t *testing.T) {
	if emulation.OnCard() {
		t.Skip("about the emulation, not the card")
	}
	plain := blas.Gemm{M: 8, N: 8, K: 8, A: kernels.BF16, B: kernels.BF16, D: kernels.BF16, Alpha: 1}
	fused := plain
	fused.Epilogue, fused.BiasType = blas.GeluAuxBias, kernels.BF16
	for _, variable := range []string{"HATCHERY_EMULATION_EPILOGUES", "HATCHERY_EMULATION_LT"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "none")
			with(t, func(d *device) {
				h, err := blas.New(d.c, d.s) // which notices the variable
				if err != nil {
					t.Fatal(err)
				}
				defer h.Destroy()
				if _, err := h.Plan(fused); !errors.Is(err, blas.ErrUnsupported) {
					t.Errorf("with an epilogue: %v", err)
				}
				d.compare(h, plain)
			})
		})
	}
}

func TestImpossible(t *testing.T) {
	with(t, func(d *device) {
		ok := blas.Gemm{M: 8, N: 8, K: 8, A: kernels.F32, B: kernels.F32, D: kernels.F32}
		for name, change := range map[string]func(*blas.Gemm){
			"no rows":          func(g *blas.Gemm) { g.M = 0 },
			"rows overlap":     func(g *blas.Gemm) { g.LDB = 7 },
			"mixed types":      func(g *blas.Gemm) { g.A = kernels.BF16 },
			"batched epilogue": func(g *blas.Gemm) { g.Batch, g.Epilogue = 2, blas.Bias },
		} {
			g := ok
			change(&g)
			if _, err := d.h.Plan(g); err == nil || !strings.Contains(err.Error(), "gemm 8x8x8") && !strings.Contains(err.Error(), "gemm 0x8x8") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestAlgorithms checks that each listed algorithm computes the product, also after
// encoding as text, and that Has rejects others.
func TestAlgorithms(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "3")
	with(t, func(d *device) {
		g := blas.Gemm{M: 64, N: 32, K: 128, TransB: true, A: kernels.BF16, B: kernels.BF16, D: kernels.F32}
		all, err := d.h.Algorithms(g)
		if err != nil || len(all) < 2 {
			t.Fatalf("%d algorithms, %v", len(all), err)
		}
		a, b, out := d.place(g.A, g.M*g.K, 1), d.place(g.B, g.K*g.N, 2), d.place(g.D, g.M*g.N, 3)
		want := make([]float64, g.M*g.N)
		for i := range want {
			for l := range g.K {
				want[i] += float64(a.values[i/g.N*g.K+l]) * float64(b.values[i%g.N*g.K+l])
			}
		}
		for i, x := range all {
			text, err := x.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			var again blas.Algorithm
			if err := again.UnmarshalText(text); err != nil || again != x || !d.h.Has(g, again) {
				t.Errorf("algorithm %d was written as %s and read as %v, %v", i, text, again, err)
			}
			p, err := d.h.PlanWith(g, again)
			if err != nil {
				t.Fatal(err)
			}
			if p.Algorithm() != x {
				t.Errorf("algorithm %d is another in its plan", i)
			}
			if err := p.Run(a.p, b.p, out.p, 0, 0); err != nil {
				t.Fatal(err)
			}
			e, bound := rounding.Distance(d.read(out), want), rounding.TensorSum(g.K)
			t.Logf("algorithm %d is %.1e away, at most %.1e, relative in norm", i, e, bound)
			if !(e <= bound) {
				t.Errorf("algorithm %d is %.2g away, at most %.2g", i, e, bound)
			}
		}
		if d.h.Has(g, blas.Algorithm{1 << 40, 2, 3}) {
			t.Error("an algorithm that is none is said to be there")
		}
	})
	var a blas.Algorithm
	for _, text := range []string{"12", strings.Repeat("x", 128)} {
		if err := a.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
