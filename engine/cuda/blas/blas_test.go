//go:build gpu

package blas_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
)

// with runs f on the first device with a handle in a stream of its own.
func with(t *testing.T, f func(c *driver.Context, s *driver.Stream, h *blas.Handle)) {
	t.Helper()
	emulation.Start(t)
	d, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.Do(func(c *driver.Context) error {
		s, err := c.Stream()
		if err != nil {
			return err
		}
		defer s.Destroy()
		h, err := blas.New(c, s)
		if err != nil {
			return err
		}
		f(c, s, h)
		return h.Destroy()
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

// round is v as it is stored.
func round(t kernels.DType, v float32) float32 {
	if t == kernels.F32 {
		return v
	}
	u := math.Float32bits(v)
	return math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
}

// place puts n numbers that look random on the device.
func place(t *testing.T, c *driver.Context, s *driver.Stream, dtype kernels.DType, n int, seed uint32) *array {
	t.Helper()
	a := &array{t: dtype, values: make([]float32, n)}
	for i := range a.values {
		seed = seed*1664525 + 1013904223
		a.values[i] = round(dtype, float32(int32(seed)>>8)/(1<<23))
	}
	var err error
	if a.p, err = c.Alloc(int64(n * dtype.Size())); err != nil {
		t.Fatal(err)
	}
	if dtype == kernels.F32 {
		err = driver.Upload(s, a.p, a.values)
	} else {
		half := make([]uint16, n)
		for i, v := range a.values {
			half[i] = uint16(math.Float32bits(v) >> 16)
		}
		err = driver.Upload(s, a.p, half)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read brings the device's values back.
func (a *array) read(t *testing.T, s *driver.Stream) []float32 {
	t.Helper()
	v := make([]float32, len(a.values))
	if a.t == kernels.F32 {
		if err := driver.Download(s, v, a.p); err != nil {
			t.Fatal(err)
		}
		return v
	}
	half := make([]uint16, len(v))
	if err := driver.Download(s, half, a.p); err != nil {
		t.Fatal(err)
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

// distance is the relative distance of got from want in norm.
func distance(got []float32, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		d += (float64(got[i]) - w) * (float64(got[i]) - w)
		n += w * w
	}
	return math.Sqrt(d / n)
}

// TestGemm compares every epilogue, in both types and all transpositions,
// through capture and without, with the definition in float64.
func TestGemm(t *testing.T) {
	const m, n, k = 24, 40, 56
	type types struct{ in, out kernels.DType }
	with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
		for _, y := range []types{{kernels.F32, kernels.F32}, {kernels.BF16, kernels.BF16}, {kernels.BF16, kernels.F32}} {
			for e := blas.None; e <= blas.SumB; e++ {
				for trans := range 4 {
					for _, beta := range []float32{0, 1} {
						g := blas.Gemm{M: m, N: n, K: k, TransA: trans&1 != 0, TransB: trans&2 != 0, A: y.in, B: y.in, D: y.out,
							Alpha: 0.5, Beta: beta, Epilogue: e, BiasType: y.out}
						t.Run(fmt.Sprintf("%v beta %v", g, beta), func(t *testing.T) { compare(t, c, s, h, g) })
					}
				}
			}
		}
	})
}

func compare(t *testing.T, c *driver.Context, s *driver.Stream, h *blas.Handle, g blas.Gemm) {
	p, err := h.Plan(g)
	if errors.Is(err, blas.ErrUnsupported) && emulation.Real() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, b := place(t, c, s, g.A, g.M*g.K, 1), place(t, c, s, g.B, g.K*g.N, 2)
	d, bias, aux := place(t, c, s, g.D, g.M*g.N, 3), place(t, c, s, g.BiasType, max(g.M, g.N), 4), place(t, c, s, g.D, g.M*g.N, 5)
	if err := p.Run(a.p, b.p, d.p, bias.p, aux.p); err != nil {
		t.Fatal(err)
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
			v = v*float64(g.Alpha) + float64(g.Beta)*float64(d.values[o])
			wantAux[o] = float64(aux.values[o])
			switch g.Epilogue {
			case blas.Bias:
				v += float64(bias.values[j])
			case blas.GeluBias:
				v = gelu(v + float64(bias.values[j]))
			case blas.GeluAuxBias:
				v += float64(bias.values[j])
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
	tolerance := map[kernels.DType]float64{kernels.F32: 1e-5, kernels.BF16: 4e-3}[g.D]
	for _, r := range []struct {
		name string
		got  []float32
		want []float64
	}{{"d", d.read(t, s), wantD}, {"bias", bias.read(t, s), wantBias}, {"aux", aux.read(t, s), wantAux}} {
		if e := distance(r.got, r.want); !(e <= tolerance) {
			t.Errorf("%s is %.2g away, relative in norm", r.name, e)
		}
	}
}

// TestStrides multiplies a batch whose matrices are parts of wider ones, as the
// heads in the output of a qkv layer.
func TestStrides(t *testing.T) {
	const batch, m, n, k, ld = 3, 8, 16, 24, 72
	with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
		p, err := h.Plan(blas.Gemm{M: m, N: n, K: k, TransB: true, A: kernels.F32, B: kernels.F32, D: kernels.F32,
			LDA: ld, LDB: ld, LDD: 20, Batch: batch, StrideA: 24, StrideB: 24, StrideD: m * 20})
		if err != nil {
			t.Fatal(err)
		}
		a, b := place(t, c, s, kernels.F32, m*ld, 1), place(t, c, s, kernels.F32, n*ld, 2)
		d := place(t, c, s, kernels.F32, batch*m*20, 3)
		if err := p.Run(a.p, b.p, d.p, 0, 0); err != nil {
			t.Fatal(err)
		}
		want := make([]float64, len(d.values))
		for i, v := range d.values {
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
		if e := distance(d.read(t, s), want); !(e <= 1e-5) {
			t.Errorf("%.2g away, relative in norm", e)
		}
	})
}

func TestCaptured(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
		g := blas.Gemm{M: 16, N: 16, K: 16, A: kernels.F32, B: kernels.F32, D: kernels.F32, Beta: 1}
		p, err := h.Plan(g)
		if err != nil {
			t.Fatal(err)
		}
		a, b, d := place(t, c, s, kernels.F32, 256, 1), place(t, c, s, kernels.F32, 256, 2), place(t, c, s, kernels.F32, 256, 3)
		if err := s.BeginCapture(); err != nil {
			t.Fatal(err)
		}
		if err := p.Run(a.p, b.p, d.p, 0, 0); err != nil {
			t.Fatal(err)
		}
		graph, err := s.EndCapture()
		if err != nil {
			t.Fatal(err)
		}
		exec, err := graph.Instantiate()
		if err != nil {
			t.Fatal(err)
		}
		if got := d.read(t, s); distance(got, widen(d.values)) != 0 {
			t.Error("a captured multiplication ran")
		}
		want := widen(d.values)
		for range 3 {
			if err := exec.Launch(s); err != nil {
				t.Fatal(err)
			}
			for i := range 256 {
				for l := range 16 {
					want[i] += float64(a.values[i/16*16+l]) * float64(b.values[l*16+i%16])
				}
			}
		}
		if e := distance(d.read(t, s), want); !(e <= 1e-5) {
			t.Errorf("after three launches %.2g away, relative in norm", e)
		}
	})
}

func widen(v []float32) []float64 {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = float64(v[i])
	}
	return w
}

// TestFallback has libraries that lack kernels, or all of cublasLt.
func TestFallback(t *testing.T) {
	if emulation.Real() {
		t.Skip("about the emulation, not the card")
	}
	plain := blas.Gemm{M: 8, N: 8, K: 8, A: kernels.BF16, B: kernels.BF16, D: kernels.BF16, Alpha: 1}
	fused := plain
	fused.Epilogue, fused.BiasType = blas.GeluAuxBias, kernels.BF16
	for _, variable := range []string{"HATCHERY_EMULATION_EPILOGUES", "HATCHERY_EMULATION_LT"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "none")
			with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
				if _, err := h.Plan(fused); !errors.Is(err, blas.ErrUnsupported) {
					t.Errorf("with an epilogue: %v", err)
				}
				compare(t, c, s, h, plain)
			})
		})
	}
}

func TestImpossible(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
		ok := blas.Gemm{M: 8, N: 8, K: 8, A: kernels.F32, B: kernels.F32, D: kernels.F32}
		for name, change := range map[string]func(*blas.Gemm){
			"no rows":          func(g *blas.Gemm) { g.M = 0 },
			"rows overlap":     func(g *blas.Gemm) { g.LDB = 7 },
			"mixed types":      func(g *blas.Gemm) { g.A = kernels.BF16 },
			"batched epilogue": func(g *blas.Gemm) { g.Batch, g.Epilogue = 2, blas.Bias },
		} {
			g := ok
			change(&g)
			if _, err := h.Plan(g); err == nil || !strings.Contains(err.Error(), "gemm 8x8x8") && !strings.Contains(err.Error(), "gemm 0x8x8") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestAlgorithms: each algorithm that is named can be used, survives being
// written down, and computes the product; others are told apart.
func TestAlgorithms(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "3")
	with(t, func(c *driver.Context, s *driver.Stream, h *blas.Handle) {
		g := blas.Gemm{M: 64, N: 32, K: 128, TransB: true, A: kernels.BF16, B: kernels.BF16, D: kernels.F32}
		all, err := h.Algorithms(g)
		if err != nil || len(all) < 2 {
			t.Fatalf("%d algorithms, %v", len(all), err)
		}
		a, b, d := place(t, c, s, g.A, g.M*g.K, 1), place(t, c, s, g.B, g.K*g.N, 2), place(t, c, s, g.D, g.M*g.N, 3)
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
			if err := again.UnmarshalText(text); err != nil || again != x || !h.Has(g, again) {
				t.Errorf("algorithm %d was written as %s and read as %v, %v", i, text, again, err)
			}
			p, err := h.PlanWith(g, again)
			if err != nil {
				t.Fatal(err)
			}
			if p.Algorithm() != x {
				t.Errorf("algorithm %d is another in its plan", i)
			}
			if err := p.Run(a.p, b.p, d.p, 0, 0); err != nil {
				t.Fatal(err)
			}
			if e := distance(d.read(t, s), want); !(e <= 1e-5) {
				t.Errorf("algorithm %d is %.2g away, relative in norm", i, e)
			}
		}
		if h.Has(g, blas.Algorithm{1 << 40, 2, 3}) {
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
