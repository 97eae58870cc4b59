package models

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"hatchery/engine/cpu"
	"hatchery/engine/graph"
)

// golden holds values computed by timm: see testdata/golden.py.
type golden struct {
	Name      string
	ViT       ViT
	Split     []int
	MetaDepth int
	Hybrid    int // 0: the target model itself
	// Drop path factors of each sample, by "owner/blocks.N" and branch.
	Drops  map[string][2][]float64
	Logits []float64
	Loss   float64
	Grads  map[string]struct {
		Norm, Dot float64
		Values    []float64 // all, or those at the sampled indices
	}
}

const (
	goldenBatch  = 4
	goldenFull   = 192
	goldenSample = 64
)

// goldenNumber returns number i of a name: FNV-1a, then MurmurHash3's finalizer.
func goldenNumber(name string, i int) uint32 {
	h := uint32(2166136261)
	for _, c := range []byte(name) {
		h = (h ^ uint32(c)) * 16777619
	}
	h += uint32(i) * 0x9E3779B9
	h = (h ^ h>>16) * 0x85EBCA6B
	h = (h ^ h>>13) * 0xC2B2AE35
	return h ^ h>>16
}

func goldenUniform(name string, i int) float64 {
	return float64(goldenNumber(name, i)>>16)/32768 - 1
}

// goldenLeaf returns element i of an input of the network. The golden values were
// computed from exactly these.
func goldenLeaf(name string, i int) float64 {
	u := goldenUniform(name, i)
	has := func(suffix string) bool { return strings.HasSuffix(name, suffix) }
	switch {
	case name == "images":
		return 2 * u
	case strings.Contains(name, "norm") && has(".weight"):
		return 1 + u/4
	case strings.Contains(name, "norm"), has("patch_embed.proj.weight"), has("head.weight"):
		return u / 4
	case has("cls_token"), has("pos_embed"):
		return u / 2
	case has("mlp.fc2.weight"):
		return u / 16
	}
	return u / 8
}

func goldenTargets(classes int) []float64 {
	t := make([]float64, goldenBatch*classes)
	for i := range 4 * goldenBatch {
		share := [4]float64{0.5, 0.25, 0.125, 0.125}[i%4]
		t[i/4*classes+int(goldenNumber("targets", i)%uint32(classes))] += share
	}
	return t
}

func TestTimm(t *testing.T) {
	text, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 2 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		d, err := NewDivision(c.ViT, len(c.Split), c.Split, c.MetaDepth)
		if err != nil {
			t.Fatal(err)
		}
		n := d.TargetNet()
		if c.Hybrid > 0 {
			n = d.Hybrid(c.Hybrid)
		}
		// Training uses float32. With float64, the remaining difference is rounding.
		t.Run(c.Name+"/float32", func(t *testing.T) { compareWithTimm[float32](t, c, n, graph.Float32, 1e-5) })
		t.Run(c.Name+"/float64", func(t *testing.T) { compareWithTimm[float64](t, c, n, graph.Float64, 1e-10) })
	}
}

func compareWithTimm[T float32 | float64](t *testing.T, c golden, n Network, dtype graph.DType, tolerance float64) {
	t.Parallel()
	g, err := BuildTraining(t.Context(), []Network{n}, BuildOptions{Batch: goldenBatch, DType: dtype, DropPath: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	grads, err := g.Gradients(t.Context(), g.Loss)
	if err != nil {
		t.Fatal(err)
	}
	loss, logits := g.Outputs[0].Loss, g.Outputs[0].Logits
	plan, err := g.Plan(append([]*graph.Node{loss, logits}, grads...)...)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(1)
	defer pool.Close()
	e, err := cpu.Compile[T](plan, pool, nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, v := range plan.Leaves() {
		data := e.Data(g.Leaf(v.Name))
		for i := range data {
			data[i] = T(goldenLeaf(v.Name, i))
		}
	}
	for i, x := range goldenTargets(n.Classes) {
		e.Data(g.Targets)[i] = T(x)
	}
	if len(g.DropPaths) != 2*len(c.Drops) {
		t.Errorf("%d drop path inputs, timm has %d", len(g.DropPaths), 2*len(c.Drops))
	}
	for _, d := range g.DropPaths {
		factors := c.Drops[fmt.Sprintf("%s/blocks.%d", d.Layer.Owner, d.Layer.Block)][d.Branch]
		data := e.Data(d.Node)
		if len(data) != len(factors) {
			t.Fatalf("%s blocks.%d: %d factors, timm has %d", d.Layer.Owner, d.Layer.Block, len(data), len(factors))
		}
		for i, x := range factors {
			data[i] = T(x)
		}
	}
	e.Run()

	worst := 0.0
	// Errors are relative to the largest element.
	compare := func(what string, got func(i int) float64, want []float64) {
		largest, off := 0.0, 0.0
		for i, w := range want {
			largest = max(largest, math.Abs(w))
			off = max(off, math.Abs(got(i)-w))
		}
		worst = max(worst, off/largest)
		if !(off <= tolerance*largest) {
			t.Errorf("%s: off by %.2e of the largest element, %g", what, off/largest, largest)
		}
	}
	compare("logits", func(i int) float64 { return float64(e.Data(logits)[i]) }, c.Logits)
	compare("loss", func(int) float64 { return float64(e.Data(loss)[0]) }, []float64{c.Loss})

	if len(grads) != len(c.Grads) {
		t.Errorf("%d gradients, timm has %d", len(grads), len(c.Grads))
	}
	for i, p := range g.Params() {
		want, ok := c.Grads[p.Name()]
		if !ok {
			t.Errorf("timm has no gradient of %s", p.Name())
			continue
		}
		got := e.Data(grads[i])
		square, dot := 0.0, 0.0
		for j, x := range got {
			square += float64(x) * float64(x)
			dot += float64(x) * goldenUniform("dot "+p.Name(), j)
		}
		at := func(j int) int { return j }
		places := len(got)
		if len(got) > goldenFull {
			at = func(j int) int { return int(goldenNumber("at "+p.Name(), j) % uint32(len(got))) }
			places = goldenSample
		}
		if len(want.Values) != places {
			t.Errorf("%s: timm has %d values for %d elements", p.Name(), len(want.Values), len(got))
			continue
		}
		compare(p.Name(), func(j int) float64 { return float64(got[at(j)]) }, want.Values)
		compare(p.Name()+" (norm)", func(int) float64 { return math.Sqrt(square) }, []float64{want.Norm})
		// The product with the fixed vector may cancel, so compare it with the norm.
		if off := math.Abs(dot-want.Dot) / want.Norm; !(off <= tolerance) {
			t.Errorf("%s: its product with a fixed vector is off by %.2e of its norm", p.Name(), off)
		}
	}
	t.Logf("worst relative error %.1e", worst)
}
