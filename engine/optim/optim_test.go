package optim

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"hatchery/engine/random"
)

// TestGolden compares AdamW with torch's and LAMB with timm's.
func TestGolden(t *testing.T) {
	t.Run(NameAdamW, func(t *testing.T) { compareWithGolden(t, NameAdamW, "bias", "scale") })
	t.Run(NameLAMB, func(t *testing.T) { compareWithGolden(t, NameLAMB, "bias") })
}

// compareWithGolden repeats the steps in the golden file of an optimizer. The tensors
// named in noDecay have no weight decay.
func compareWithGolden(t *testing.T, name string, noDecay ...string) {
	type tensors map[string][]float32
	var golden []struct {
		LR          float64    `json:"lr"`
		WeightDecay float64    `json:"weight_decay"`
		Betas       [2]float64 `json:"betas"`
		Eps         float64    `json:"eps"`
		Clip        float64    `json:"clip"`
		Start       tensors    `json:"start"`
		Steps       []struct {
			LR    float64 `json:"lr"`
			Norm  float64 `json:"norm"`
			Grad  tensors `json:"grad"`
			Value tensors `json:"value"`
			M     tensors `json:"m"`
			V     tensors `json:"v"`
		} `json:"steps"`
	}
	readGolden(t, name+".json", &golden)
	for n, g := range golden {
		var params []Param
		for _, tensor := range slices.Sorted(maps.Keys(g.Start)) {
			params = append(params, Param{
				Name:  tensor,
				Value: slices.Clone(g.Start[tensor]),
				Grad:  make([]float32, len(g.Start[tensor])),
				Decay: !slices.Contains(noDecay, tensor),
			})
		}
		o, err := New(name, params, Config{Beta1: g.Betas[0], Beta2: g.Betas[1], Eps: g.Eps, WeightDecay: g.WeightDecay})
		if err != nil {
			t.Fatal(err)
		}
		clipped := 0
		for step, s := range g.Steps {
			for _, p := range params {
				copy(p.Grad, s.Grad[p.Name])
			}
			norm := o.Step(s.LR, g.Clip)
			near(t, n, step, "norm", []float32{float32(norm)}, []float32{float32(s.Norm)})
			if g.Clip > 0 && norm > g.Clip {
				clipped++
			}
			state := maps.Collect(o.State())
			for _, p := range params {
				near(t, n, step, p.Name, p.Value, s.Value[p.Name])
				near(t, n, step, "m of "+p.Name, state["optimizer.m."+p.Name], s.M[p.Name])
				near(t, n, step, "v of "+p.Name, state["optimizer.v."+p.Name], s.V[p.Name])
			}
		}
		if g.Clip > 0 && (clipped == 0 || clipped == len(g.Steps)) {
			t.Errorf("case %d: %d of %d steps are clipped: some should be, and some not", n, clipped, len(g.Steps))
		}
	}
}

// near checks that errors are at most 1e-6 of the tensor's largest element.
func near(t *testing.T, n, step int, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("case %d, step %d: %s has %d elements, want %d", n, step, what, len(got), len(want))
	}
	var top float64
	for _, w := range want {
		top = max(top, math.Abs(float64(w)))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= 1e-6*top) {
			t.Errorf("case %d, step %d: %s[%d] = %v, want %v", n, step, what, i, got[i], want[i])
		}
	}
}

// large returns parameters, with gradients, of several chunks whose lengths are not
// multiples of a chunk.
func large(seed uint64) []Param {
	var s random.Stream
	fill := func(purpose string, n int) []float32 {
		s.Reset(seed, purpose, uint64(n))
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(s.NormFloat64())
		}
		return x
	}
	var ps []Param
	for i, n := range []int{3*chunkLen + 17, chunkLen, 1, 0, 129} {
		ps = append(ps, Param{
			Name:  string(rune('a' + i)),
			Value: fill("value", n),
			Grad:  fill("grad", n),
			Decay: i%2 == 0,
		})
	}
	return ps
}

var deit = Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05}

// each runs a test for every optimizer.
func each(t *testing.T, test func(t *testing.T, name string)) {
	for _, name := range []string{NameAdamW, NameLAMB} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// backwards is a Config.Parallel that starts many goroutines, in reverse order.
func backwards(n int, body func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { body(n - 1 - i) })
	}
	wg.Wait()
}

// mustNew is like New and ends the test on an error.
func mustNew(t testing.TB, name string, params []Param, cfg Config) Optimizer {
	t.Helper()
	o, err := New(name, params, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestThreadsDoNotChangeWeights(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		cfg := deit
		cfg.Parallel = backwards
		serial, parallel := large(1), large(1)
		so, po := mustNew(t, name, serial, deit), mustNew(t, name, parallel, cfg)
		for step := range 3 {
			if a, b := so.Step(1e-2, 0.5), po.Step(1e-2, 0.5); a != b {
				t.Fatalf("step %d: norm %v on one thread, %v on many", step, a, b)
			}
		}
		if !reflect.DeepEqual(serial, parallel) {
			t.Error("weights differ between one thread and many")
		}
	})
}

// TestChunksEqualOneLoop compares chunked updates and clipping with the formulas in
// float64 over whole tensors.
func TestChunksEqualOneLoop(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		chunks, plain := large(1), large(1)
		o := mustNew(t, name, chunks, deit)
		const lr, clip = 1e-2, 0.5
		for step := 1; step <= 3; step++ {
			o.Step(lr, clip)
			var sum float64
			for _, p := range plain {
				for _, g := range p.Grad {
					sum += float64(g) * float64(g)
				}
			}
			coef := clip / math.Sqrt(sum)
			for pi, p := range plain {
				wd := deit.WeightDecay
				if !p.Decay {
					wd = 0
				}
				// The gradient is the same at every step, so bias correction
				// turns the moments back into g and g*g.
				var weights, updates float64
				update := make([]float64, len(p.Value))
				for i := range p.Value {
					g, w := float64(p.Grad[i])*coef, float64(p.Value[i])
					update[i] = g/(math.Abs(g)+deit.Eps) + wd*w
					weights += w * w
					updates += update[i] * update[i]
				}
				ratio := 1.0
				if name == NameLAMB && wd != 0 && updates > 0 {
					ratio = math.Sqrt(weights / updates)
				}
				for i := range p.Value {
					p.Value[i] = float32(float64(p.Value[i]) - lr*ratio*update[i])
					if d := math.Abs(float64(chunks[pi].Value[i] - p.Value[i])); d > 2e-6 {
						t.Fatalf("step %d: %s[%d] = %v, want %v", step, p.Name, i, chunks[pi].Value[i], p.Value[i])
					}
				}
			}
		}
	})
}

func TestResumedEqualsUninterrupted(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		whole, part := large(2), large(2)
		a := mustNew(t, name, whole, deit)
		b := mustNew(t, name, part, deit)
		for range 3 {
			a.Step(1e-3, 1)
			b.Step(1e-3, 1)
		}
		saved := map[string][]float32{}
		for name, data := range b.State() {
			saved[name] = slices.Clone(data)
		}
		b.Step(1, 0) // the saved state is a copy and does not change

		rest := large(2)
		for i := range rest {
			copy(rest[i].Value, whole[i].Value)
		}
		c := mustNew(t, name, rest, deit)
		if err := c.Load(func(name string) []float32 { return saved[name] }); err != nil {
			t.Fatal(err)
		}
		if c.Steps() != 3 {
			t.Errorf("resumed at %d steps, want 3", c.Steps())
		}
		for range 3 {
			a.Step(1e-3, 1)
			c.Step(1e-3, 1)
		}
		if !reflect.DeepEqual(whole, rest) {
			t.Error("a resumed run gives other weights")
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		ps := large(3)
		o := mustNew(t, name, ps, deit)
		o.Step(1e-3, 0)
		before := map[string][]float32{}
		for tensor, data := range o.State() {
			before[tensor] = slices.Clone(data)
		}
		for _, c := range []struct {
			tensor string
			data   []float32
			want   string
		}{
			{"optimizer.v.e", nil, "lacks optimizer.v.e"},
			{"optimizer.m.b", make([]float32, 3), "has 3 elements in the checkpoint, 16384 here"},
			{"optimizer.step", []float32{0.5}, "want a count"},
			{"optimizer.step", []float32{float32(math.NaN())}, "want a count"},
		} {
			err := o.Load(func(tensor string) []float32 {
				if tensor == c.tensor {
					return c.data
				}
				return make([]float32, len(before[tensor]))
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", c.tensor, err, c.want)
			}
			for tensor, data := range o.State() {
				if !slices.Equal(data, before[tensor]) {
					t.Fatalf("%s: a refused Load changed %s", c.tensor, name)
				}
			}
		}
	})
}

func TestNonFiniteNormChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			ps := large(4)
			want := large(4)
			o := mustNew(t, name, ps, deit)
			ps[0].Grad[chunkLen+3] = float32(bad)
			norm := o.Step(1e-3, 1)
			if !math.IsNaN(norm) && !math.IsInf(norm, 1) {
				t.Errorf("norm %v with a gradient of %v", norm, bad)
			}
			for i := range ps {
				if !slices.Equal(ps[i].Value, want[i].Value) {
					t.Errorf("gradient %v: %s changed", bad, ps[i].Name)
				}
			}
			if o.Steps() != 0 {
				t.Errorf("gradient %v: %d steps counted", bad, o.Steps())
			}
		}
	})
}

func TestNewRefuses(t *testing.T) {
	with := func(change func(*Config)) Config { c := deit; change(&c); return c }
	one := []Param{{Name: "a", Value: make([]float32, 2), Grad: make([]float32, 2)}}
	for _, c := range []struct {
		params []Param
		cfg    Config
		want   string
	}{
		{one, with(func(c *Config) { c.Beta1 = 1 }), "beta1 is 1"},
		{one, with(func(c *Config) { c.Beta2 = math.NaN() }), "beta2 is NaN"},
		{one, with(func(c *Config) { c.Eps = 0 }), "eps is 0"},
		{one, with(func(c *Config) { c.WeightDecay = -1 }), "weight_decay is -1"},
		{append(one, one[0]), deit, `"a" is empty or taken`},
		{[]Param{{Name: "b", Value: make([]float32, 2)}}, deit, "b: gradient has 0 elements, the parameter 2"},
	} {
		if _, err := New(NameLAMB, c.params, c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, err := New("sgd", one, deit); err == nil || !strings.Contains(err.Error(), "there are adamw and lamb") {
		t.Errorf("error %v for an unknown optimizer", err)
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		o := mustNew(t, name, large(5), deit)
		if n := testing.AllocsPerRun(10, func() { o.Step(1e-3, 1) }); n != 0 {
			t.Errorf("%v allocations a step", n)
		}
	})
}

func BenchmarkStep(b *testing.B) {
	n := 1 << 20
	o := mustNew(b, NameAdamW, []Param{{Name: "w", Value: make([]float32, n), Grad: make([]float32, n), Decay: true}}, deit)
	b.SetBytes(int64(n) * 4)
	for b.Loop() {
		o.Step(1e-3, 0)
	}
}
