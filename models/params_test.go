package models

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

func TestParamsAreTimms(t *testing.T) {
	text, err := os.ReadFile("testdata/timm_names.json")
	if err != nil {
		t.Fatal(err)
	}
	var models []struct {
		Name   string
		ViT    ViT
		Count  int
		Params []Param
	}
	if err := json.Unmarshal(text, &models); err != nil {
		t.Fatal(err)
	}
	if len(models) != 3 {
		t.Fatalf("%d models", len(models))
	}
	for _, m := range models {
		got := m.ViT.Params()
		count := 0
		for i, p := range got {
			count += p.Size()
			if i < len(m.Params) {
				w := m.Params[i]
				if p.Name != w.Name || !slices.Equal(p.Shape, w.Shape) || p.Decay != w.Decay {
					t.Errorf("%s: parameter %d is %s %v, decay %v; timm has %s %v, %v",
						m.Name, i, p.Name, p.Shape, p.Decay, w.Name, w.Shape, w.Decay)
				}
			}
		}
		if len(got) != len(m.Params) || count != m.Count {
			t.Errorf("%s: %d parameters with %d elements, timm has %d with %d", m.Name, len(got), count, len(m.Params), m.Count)
		}
	}
}

func TestInitialize(t *testing.T) {
	// What DeiT does; the standard deviation of U(-a, a) is a/sqrt(3).
	conv := 1 / math.Sqrt(3*4*4)
	want := map[string]struct{ mean, std, bound float64 }{
		"cls_token":                {0, 0.02, 0.12},
		"pos_embed":                {0, 0.02, 0.12},
		"patch_embed.proj.weight":  {0, conv / math.Sqrt(3), conv},
		"patch_embed.proj.bias":    {0, conv / math.Sqrt(3), conv},
		"blocks.0.norm1.weight":    {1, 0, 1},
		"blocks.0.norm1.bias":      {0, 0, 0},
		"blocks.0.attn.qkv.weight": {0, 0.02, 0.12},
		"blocks.0.attn.qkv.bias":   {0, 0, 0},
		"blocks.0.mlp.fc2.weight":  {0, 0.02, 0.12},
		"norm.weight":              {1, 0, 1},
		"head.weight":              {0, 0.02, 0.12},
		"head.bias":                {0, 0, 0},
	}
	seen := 0
	for _, p := range deitTiny(1).Params() {
		w := Initialize(p, 3, Target)
		if len(w) != p.Size() {
			t.Errorf("%s: %d values for %v", p.Name, len(w), p.Shape)
		}
		g, ok := want[p.Name]
		if !ok {
			continue
		}
		seen++
		var sum, sq, most float64
		for _, x := range w {
			sum += float64(x)
			most = max(most, math.Abs(float64(x)))
		}
		mean := sum / float64(len(w))
		for _, x := range w {
			sq += (float64(x) - mean) * (float64(x) - mean)
		}
		std := math.Sqrt(sq / float64(len(w)))
		n := float64(len(w))
		// Four standard errors; the seed is fixed.
		if math.Abs(mean-g.mean) > 4*g.std/math.Sqrt(n) || math.Abs(std-g.std) > 4*g.std/math.Sqrt(2*n) || most > g.bound {
			t.Errorf("%s: mean %.5f, standard deviation %.5f, largest %.5f; want %.5f, %.5f, %.5f",
				p.Name, mean, std, most, g.mean, g.std, g.bound)
		}
	}
	if seen != len(want) {
		t.Errorf("saw %d of %d parameters", seen, len(want))
	}
}

// The initial values of a module are the same in every network, and no two tensors have
// the same values.
func TestInitializeKeys(t *testing.T) {
	d, err := NewDivision(deitTiny(4), 2, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	find := func(n Network, leaf string) NetParam {
		for _, p := range n.Params() {
			if p.Leaf() == leaf {
				return p
			}
		}
		t.Fatalf("no %s", leaf)
		return NetParam{}
	}
	in := func(n Network, leaf string, seed uint64) []float32 {
		p := find(n, leaf)
		return Initialize(p.Param, seed, p.Owner)[:8]
	}
	const leaf = "target/blocks.2.attn.proj.weight"
	a := in(d.TargetNet(), leaf, 1)
	if b := in(d.Hybrid(2), leaf, 1); !slices.Equal(a, b) {
		t.Errorf("in the target %v, in the hybrid %v", a, b)
	}
	for what, b := range map[string][]float32{
		"another seed":  in(d.TargetNet(), leaf, 2),
		"another block": in(d.TargetNet(), "target/blocks.3.attn.proj.weight", 1),
		"its meta twin": in(d.MetaNet(), "meta/blocks.1.attn.proj.weight", 1),
	} {
		if slices.Equal(a, b) {
			t.Errorf("%s starts with the same values", what)
		}
	}
	m := in(d.MetaNet(), "meta/head.weight", 1)
	if slices.Equal(m, in(d.TargetNet(), "target/head.weight", 1)) {
		t.Error("both models' heads start with the same values")
	}
}

// Every run on disk depends on these values.
func TestInitializeKnownValues(t *testing.T) {
	got := Initialize(Param{Name: "head.weight", Shape: []int{1, 3}, Init: normal02}, 1, Target)
	want := []float32{0.006310865, -0.013787675, -0.022968156}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
