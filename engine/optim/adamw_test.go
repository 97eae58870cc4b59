package optim

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"hatchery/engine/random"
)

func TestAdamWEqualsTorch(t *testing.T) {
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
	readGolden(t, "adamw.json", &golden)
	for n, g := range golden {
		var params []Param
		for _, name := range []string{"weight", "bias", "scale"} {
			params = append(params, Param{
				Name:  name,
				Value: slices.Clone(g.Start[name]),
				Grad:  make([]float32, len(g.Start[name])),
				Decay: name == "weight",
			})
		}
		o, err := NewAdamW(params, AdamWConfig{Beta1: g.Betas[0], Beta2: g.Betas[1], Eps: g.Eps, WeightDecay: g.WeightDecay})
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
			for i, p := range params {
				near(t, n, step, p.Name, p.Value, s.Value[p.Name])
				near(t, n, step, "m of "+p.Name, o.m[i], s.M[p.Name])
				near(t, n, step, "v of "+p.Name, o.v[i], s.V[p.Name])
			}
		}
		if g.Clip > 0 && (clipped == 0 || clipped == len(g.Steps)) {
			t.Errorf("case %d: %d of %d steps are clipped: both kinds should be tested", n, clipped, len(g.Steps))
		}
	}
}

// near wants a relative error of at most 1e-6 of the tensor's largest element.
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
			t.Errorf("case %d, step %d: %s[%d] = %v, torch %v", n, step, what, i, got[i], want[i])
		}
	}
}

// large returns parameters of several chunks with ends that are not on a
// chunk's border, gradients included.
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

var deit = AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05}

// TestChunksEqualOneLoop checks chunking, threads and clipping against the
// formula written out over whole tensors in float64.
func TestChunksEqualOneLoop(t *testing.T) {
	cfg := deit
	cfg.Parallel = func(n int, body func(int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { body(n - 1 - i) })
		}
		wg.Wait()
	}
	serial, parallel, plain := large(1), large(1), large(1)
	so, err := NewAdamW(serial, deit)
	if err != nil {
		t.Fatal(err)
	}
	po, err := NewAdamW(parallel, cfg)
	if err != nil {
		t.Fatal(err)
	}
	const lr, clip = 1e-2, 0.5
	for step := 1; step <= 3; step++ {
		if a, b := so.Step(lr, clip), po.Step(lr, clip); a != b {
			t.Fatalf("step %d: norm %v on one thread, %v on many", step, a, b)
		}
		var sum float64
		for _, p := range plain {
			for _, g := range p.Grad {
				sum += float64(g) * float64(g)
			}
		}
		coef := clip / (math.Sqrt(sum) + 1e-6)
		for pi, p := range plain {
			wd := deit.WeightDecay
			if !p.Decay {
				wd = 0
			}
			for i := range p.Value {
				// The gradient is the same at every step, so bias correction
				// turns the moments back into g and g*g.
				g := float64(p.Grad[i]) * coef
				p.Value[i] = float32(float64(p.Value[i])*(1-lr*wd) - lr*g/(math.Abs(g)+deit.Eps))
				if d := math.Abs(float64(serial[pi].Value[i] - p.Value[i])); d > 2e-6 {
					t.Fatalf("step %d: %s[%d] = %v, want %v", step, p.Name, i, serial[pi].Value[i], p.Value[i])
				}
			}
		}
	}
	if !reflect.DeepEqual(serial, parallel) {
		t.Error("weights differ between one thread and many")
	}
}

func TestResumedEqualsUninterrupted(t *testing.T) {
	whole, part := large(2), large(2)
	a, _ := NewAdamW(whole, deit)
	b, _ := NewAdamW(part, deit)
	for range 3 {
		a.Step(1e-3, 1)
		b.Step(1e-3, 1)
	}
	saved := map[string][]float32{}
	for name, data := range b.State() {
		saved[name] = slices.Clone(data)
	}
	b.Step(1, 0) // the saved state is a copy and does not see this

	rest := large(2)
	for i := range rest {
		copy(rest[i].Value, whole[i].Value)
	}
	c, _ := NewAdamW(rest, deit)
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
}

func TestLoadRefuses(t *testing.T) {
	ps := large(3)
	o, _ := NewAdamW(ps, deit)
	o.Step(1e-3, 0)
	before := map[string][]float32{}
	for name, data := range o.State() {
		before[name] = slices.Clone(data)
	}
	for _, c := range []struct {
		name string
		data []float32
		want string
	}{
		{"optimizer.v.e", nil, "lacks optimizer.v.e"},
		{"optimizer.m.b", make([]float32, 3), "has 3 elements in the checkpoint, 16384 here"},
		{"optimizer.step", []float32{0.5}, "want a count"},
		{"optimizer.step", []float32{float32(math.NaN())}, "want a count"},
	} {
		err := o.Load(func(name string) []float32 {
			if name == c.name {
				return c.data
			}
			return make([]float32, len(before[name]))
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		for name, data := range o.State() {
			if !slices.Equal(data, before[name]) {
				t.Fatalf("%s: a refused Load changed %s", c.name, name)
			}
		}
	}
}

func TestNonFiniteNormChangesNothing(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		ps := large(4)
		want := large(4)
		o, _ := NewAdamW(ps, deit)
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
}

func TestNewAdamWRefuses(t *testing.T) {
	with := func(change func(*AdamWConfig)) AdamWConfig { c := deit; change(&c); return c }
	one := []Param{{Name: "a", Value: make([]float32, 2), Grad: make([]float32, 2)}}
	for _, c := range []struct {
		params []Param
		cfg    AdamWConfig
		want   string
	}{
		{one, with(func(c *AdamWConfig) { c.Beta1 = 1 }), "beta1 is 1"},
		{one, with(func(c *AdamWConfig) { c.Beta2 = math.NaN() }), "beta2 is NaN"},
		{one, with(func(c *AdamWConfig) { c.Eps = 0 }), "eps is 0"},
		{one, with(func(c *AdamWConfig) { c.WeightDecay = -1 }), "weight_decay is -1"},
		{append(one, one[0]), deit, `"a" is empty or taken`},
		{[]Param{{Name: "b", Value: make([]float32, 2)}}, deit, "b: gradient has 0 elements, the parameter 2"},
	} {
		if _, err := NewAdamW(c.params, c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	o, _ := NewAdamW(large(5), deit)
	if n := testing.AllocsPerRun(10, func() { o.Step(1e-3, 1) }); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}

func BenchmarkStep(b *testing.B) {
	n := 1 << 20
	o, _ := NewAdamW([]Param{{Name: "w", Value: make([]float32, n), Grad: make([]float32, n), Decay: true}}, deit)
	b.SetBytes(int64(n) * 4)
	for b.Loop() {
		o.Step(1e-3, 0)
	}
}
