package optim

import (
	"maps"
	"reflect"
	"slices"
	"testing"
)

func TestEMAEqualsTimm(t *testing.T) {
	var golden []struct {
		Decay float64   `json:"decay"`
		Start []float32 `json:"start"`
		Steps []struct {
			Value   []float32 `json:"value"`
			Average []float32 `json:"average"`
		} `json:"steps"`
	}
	readGolden(t, "average.json", &golden)
	for n, g := range golden {
		p := Param{Name: "weight", Value: g.Start}
		average := make([]float32, len(g.Start))
		a, err := NewEMA([]Param{p}, [][]float32{average}, g.Decay, nil)
		if err != nil {
			t.Fatal(err)
		}
		near(t, n, -1, "average", average, g.Start)
		for step, s := range g.Steps {
			copy(p.Value, s.Value)
			a.Update()
			near(t, n, step, "average", average, s.Average)
		}
	}
}

// newEMA returns an EMA of parameters in new storage.
func newEMA(t *testing.T, params []Param, parallel func(int, func(int))) *EMA {
	t.Helper()
	values := make([][]float32, len(params))
	for i, p := range params {
		values[i] = make([]float32, len(p.Value))
	}
	a, err := NewEMA(params, values, 0.99, parallel)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEMAResumedOnManyThreads(t *testing.T) {
	params := large(6)
	whole, half := newEMA(t, params, nil), newEMA(t, params, nil)
	step := func() {
		for _, p := range params {
			for i := range p.Value {
				p.Value[i] += p.Grad[i]
			}
		}
	}
	for range 3 {
		step()
		whole.Update()
		half.Update()
	}
	saved := map[string][]float32{}
	for name, data := range half.State() {
		saved[name] = slices.Clone(data)
	}
	rest := newEMA(t, params, backwards)
	if err := rest.Load(func(name string) []float32 { return saved[name] }); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		step()
		whole.Update()
		rest.Update()
	}
	if !reflect.DeepEqual(maps.Collect(whole.State()), maps.Collect(rest.State())) {
		t.Error("a resumed EMA differs")
	}
	if err := rest.Load(func(string) []float32 { return nil }); err == nil {
		t.Error("loaded an EMA from a checkpoint without one")
	}
	if n := testing.AllocsPerRun(10, whole.Update); n != 0 {
		t.Errorf("%v allocations an update", n)
	}
}

func TestStateNames(t *testing.T) {
	for name, param := range map[string]string{
		"optimizer.step": "", "optimizer.m.head.weight": "head.weight", "optimizer.v.norm.bias": "norm.bias", "ema.head.bias": "head.bias",
	} {
		if !IsState(name) || StateOf(name) != param {
			t.Errorf("%s: a state %v, of %q", name, IsState(name), StateOf(name))
		}
	}
	if IsState("head.weight") {
		t.Error("a weight counts as state")
	}
}
