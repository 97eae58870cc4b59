package lower

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/models"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s", name, got)
	}
}

// small returns a ViT of few parameters.
func small(depth int) models.Division {
	v := models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 32, Depth: depth, Heads: 2, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 10}
	return models.Division{Target: v, Split: []int{depth / 2, depth - depth/2}, MetaDepth: 1}
}

// params lays out the parameters of networks that are trained together.
func params(t testing.TB, networks ...models.Network) *Params {
	t.Helper()
	var trained [][]models.NetParam
	var frozen []Leaf
	seen := map[string]bool{}
	for _, n := range networks {
		var own []models.NetParam
		for _, p := range n.Params() {
			switch {
			case !p.Frozen:
				own = append(own, p)
			case !seen[p.Leaf()]:
				seen[p.Leaf()] = true
				frozen = append(frozen, Leaf{p.Leaf(), p.Size()})
			}
		}
		trained = append(trained, own)
	}
	p, err := NewParams(trained, frozen)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// training lowers the training of networks together.
func training(t testing.TB, networks []models.Network, micro int, dropPath float64, recompute map[string]bool, o Options) *Program {
	t.Helper()
	g, err := models.BuildTraining(t.Context(), networks, models.BuildOptions{Batch: micro, DropPath: dropPath, Recompute: recompute})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Training(t.Context(), g, params(t, networks...), Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05, Clip: 1}, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPrograms compares the operations of small networks with listings that were reviewed.
func TestPrograms(t *testing.T) {
	d := small(2)
	target := []models.Network{d.TargetNet()}
	together := []models.Network{d.Hybrid(1), d.Hybrid(2)}
	for _, c := range []struct {
		name     string
		networks []models.Network
		dropPath float64
		options  Options
	}{
		{"plain", target, 0.2, Options{T: kernels.F32, Batch: 4, Without: AllFusions}},
		{"fused", target, 0.2, Options{T: kernels.BF16, Batch: 4}},
		{"fused-no-drop", target, 0, Options{T: kernels.BF16, Batch: 4, Pixels: &Pixels{Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}, Erase: true}}},
		{"together", together, 0.2, Options{T: kernels.BF16, Batch: 4}},
	} {
		golden(t, c.name+".txt", training(t, c.networks, 4, c.dropPath, nil, c.options).String())
	}
}

// TestEvaluationProgram checks that an evaluation has no backward pass and keeps nothing
// for one.
func TestEvaluationProgram(t *testing.T) {
	d := small(2)
	g, err := models.BuildEvaluation(t.Context(), []models.Network{d.TargetNet()}, models.BuildOptions{Batch: 4})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Evaluation(g, params(t, d.TargetNet()), Options{T: kernels.BF16, Batch: 4})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "evaluation.txt", p.String())
}

// TestMemory checks the memory for the activations of DeiT-Tiny with 32 layers.
func TestMemory(t *testing.T) {
	target := models.ViT{Image: 32, Channels: 3, Patch: 4, Width: 192, Depth: 32, Heads: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 100}
	d := models.Division{Target: target, Split: []int{32}, MetaDepth: 1}
	var text strings.Builder
	for _, c := range []struct {
		name      string
		micro     int
		recompute []string
		without   Fusion
	}{
		{"nothing recomputed", 1024, nil, 0},
		{"without fusions", 1024, nil, AllFusions},
		{"LayerNorm recomputed", 1024, []string{"layer_norm"}, 0},
		{"LayerNorm and GELU recomputed", 1024, []string{"layer_norm", "gelu"}, 0},
		{"passes of 256", 256, nil, 0},
	} {
		recompute := map[string]bool{}
		for _, k := range c.recompute {
			recompute[k] = true
		}
		p := training(t, []models.Network{d.TargetNet()}, c.micro, 0.1, recompute, Options{T: kernels.BF16, Batch: 1024, Without: c.without})
		launches, products := 0, 0
		for _, c := range p.Commands {
			if c.Launch != nil {
				launches++
			}
			if c.Product != nil {
				products++
			}
		}
		fmt.Fprintf(&text, "%s: %d MiB, %d launches, %d products, %d GMACs\n", c.name, p.ArenaBytes>>20, launches, products, p.MACs/1e9)
	}
	golden(t, "memory.txt", text.String())
}

// TestVerify checks that verify finds values that share memory, reads before writes, and
// reads of values that another stream writes.
func TestVerify(t *testing.T) {
	d := small(4)
	build := func() *Program {
		return training(t, []models.Network{d.Hybrid(1), d.Hybrid(2)}, 4, 0.2, nil, Options{T: kernels.BF16, Batch: 8})
	}
	if err := build().verify(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(p *Program){
		"share memory": func(p *Program) {
			for _, v := range p.values {
				v.At.Offset = 0
			}
		},
		"outside the arena": func(p *Program) { p.values[len(p.values)-1].At.Offset = p.ArenaBytes },
		"not written yet": func(p *Program) {
			o := p.Operations
			o[0], o[1] = o[1], o[0]
		},
		"another stream writes": func(p *Program) {
			last := p.Operations[len(p.Operations)-1]
			last.Stream = 1 - last.Stream
		},
		"share memory across streams": func(p *Program) {
			var a, b *Value
			for _, v := range p.values {
				if v.stream == 0 && !v.permanent {
					a = v
				} else if v.stream == 1 {
					b = v
				}
			}
			a.At = b.At
		},
		"scratch": func(p *Program) { p.scratch[0].At = p.values[0].At },
	} {
		p := build()
		spoil(p)
		if err := p.verify(); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(name, " across streams")) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestCommands checks that every event is recorded once before it is waited for, that the
// streams join at the end of each pass, and that later passes add to the results of the
// first.
func TestCommands(t *testing.T) {
	d := small(4)
	p := training(t, []models.Network{d.Hybrid(1), d.Hybrid(2)}, 2, 0.2, nil, Options{T: kernels.BF16, Batch: 8})
	recorded := make([]bool, p.Events+1)
	busy := make([]bool, p.Streams) // work that stream 0 has not waited for
	on := make([]int, p.Events+1)
	optimizers, adds := 0, 0
	for i, c := range p.Commands {
		switch {
		case c.Record > 0:
			if recorded[c.Record] {
				t.Errorf("command %d records event %d again", i, c.Record)
			}
			recorded[c.Record], on[c.Record] = true, c.Stream
		case c.Wait > 0:
			if !recorded[c.Wait] {
				t.Errorf("command %d waits for event %d before it is recorded", i, c.Wait)
			}
			if c.Stream == 0 {
				busy[on[c.Wait]] = false
			}
		default:
			busy[c.Stream] = true
			if c.Launch != nil && c.Launch.Kernel == "adamw" {
				optimizers++
			}
			if c.Launch != nil && strings.HasPrefix(c.Launch.Kernel, "accumulate") {
				adds++
			}
		}
	}
	for s, b := range busy[1:] {
		if b {
			t.Errorf("stream %d is not waited for at the end", s+1)
		}
	}
	if optimizers != 2 {
		t.Errorf("%d optimizer steps, want one a learner", optimizers)
	}
	if adds != 2*3 {
		t.Errorf("%d additions of biases' gradients, want one for each learner and each pass but the first", adds)
	}
}

// TestRefused checks the errors for graphs that cannot be lowered.
func TestRefused(t *testing.T) {
	d := small(2)
	wide := d
	wide.Target.Width, wide.Target.Heads = 256, 2
	g, err := models.BuildTraining(t.Context(), []models.Network{wide.TargetNet()}, models.BuildOptions{Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Training(t.Context(), g, params(t, wide.TargetNet()), Optimizer{}, Options{T: kernels.BF16, Batch: 2})
	if err == nil || !strings.Contains(err.Error(), "heads of width 128") {
		t.Errorf("wide heads: %v", err)
	}
	two := []models.Network{d.TargetNet(), d.TargetNet()}
	if _, err := NewParams([][]models.NetParam{two[0].Params(), two[1].Params()}, nil); err == nil {
		t.Error("a parameter of two learners is no error")
	}
}

// TestParams checks that parameters do not overlap and that biases come first.
func TestParams(t *testing.T) {
	d := small(2)
	p := params(t, d.Hybrid(1), d.Hybrid(2))
	type span struct{ from, to int }
	var spans []span
	for leaf, q := range p.locations {
		spans = append(spans, span{q.offset, q.offset + q.size})
		if q.offset%256 != 0 || q.offset+q.size > p.Elements {
			t.Errorf("%s lies at %d of %d", leaf, q.offset, p.Elements)
		}
		if q.learner < 0 != (q.offset >= p.Trained) {
			t.Errorf("%s of learner %d lies at %d, and %d are trained", leaf, q.learner, q.offset, p.Trained)
		}
		if q.learner >= 0 {
			l := p.Learners[q.learner]
			if q.bias != (q.offset < l.First+l.Biases) {
				t.Errorf("%s lies at %d; biases from %d to %d", leaf, q.offset, l.First, l.First+l.Biases)
			}
		}
	}
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.from < b.to && b.from < a.to {
				t.Fatalf("two parameters share %v and %v", a, b)
			}
		}
	}
	if want := p.Trained + p.Learners[0].Biases + p.Learners[1].Biases; p.GradElements != want {
		t.Errorf("%d elements of gradients, want %d", p.GradElements, want)
	}
}

// TestKept checks that kept values are in Results.
func TestKept(t *testing.T) {
	d := small(2)
	g, err := models.BuildTraining(t.Context(), []models.Network{d.TargetNet()}, models.BuildOptions{Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Training(t.Context(), g, params(t, d.TargetNet()), Optimizer{}, Options{T: kernels.BF16, Batch: 2}, []*graph.Node{g.Outputs[0].Logits}...)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Result(KeepName(0)).Bytes; got != 4*2*10 {
		t.Errorf("the logits take %d bytes, want 80", got)
	}
}
