package models_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/graph"
	"hatchery/models"
)

// imitate is like train, for Module Imitation.
func imitate(t *testing.T, o models.BuildOptions, d models.Division, modules ...int) (*models.Graph, []*graph.Node) {
	t.Helper()
	g, err := models.BuildImitation(t.Context(), d, modules, o)
	if err != nil {
		t.Fatal(err)
	}
	grads, err := g.Gradients(t.Context(), g.Loss)
	if err != nil {
		t.Fatal(err)
	}
	return g, grads
}

func hybrids(d models.Division, modules ...int) []models.Network {
	var ns []models.Network
	for _, i := range modules {
		ns = append(ns, d.Hybrid(i))
	}
	return ns
}

// step runs a graph once and returns its losses and, by leaf, its gradients.
func step(t *testing.T, g *models.Graph, grads []*graph.Node) (losses []float64, gradients map[string][]float64, blocks int) {
	t.Helper()
	wanted := slices.Clone(grads)
	for _, o := range g.Outputs {
		wanted = append(wanted, o.Loss)
	}
	plan, e := compile[float64](t, g, wanted...)
	e.Run()
	for _, o := range g.Outputs {
		losses = append(losses, e.Data(o.Loss)[0])
	}
	gradients = map[string][]float64{}
	for i, p := range g.Params() {
		gradients[p.Name()] = e.Data(grads[i])
	}
	for _, s := range plan.Steps {
		if s.Kernel.Name() == "attention" {
			blocks++
		}
	}
	return losses, gradients, blocks
}

// TestTogetherEqualsAlone checks that modules that train together have the same losses
// and gradients, to the last bit, as when they train alone, and that each trains only its
// own parameters.
func TestTogetherEqualsAlone(t *testing.T) {
	for _, c := range []struct {
		split    []int
		rate     float64
		hybrids  int // blocks computed for all hybrids together: shared, of the target, after it
		imitated int // and for all imitations: the meta model, the target
	}{
		{[]int{2, 2, 2}, 0, 2 + 6 + 2 + 1, 3 + 6},
		{[]int{2, 2, 2}, 0.3, 2 + 6 + 2 + 1, 3 + 6},
		{[]int{1, 1, 2, 3}, 0, 3 + 7 + 3 + 2 + 1, 4 + 7},
		// Hybrids 3 and 4 have depths 5 and 6, so that meta block 1 drops at
		// two rates; block 0 never drops.
		{[]int{1, 1, 2, 3}, 0.3, 4 + 7 + 3 + 2 + 1, 4 + 7},
	} {
		v, modules := small, []int{}
		v.Depth = 0
		for i, n := range c.split {
			v.Depth += n
			modules = append(modules, i+1)
		}
		d := division(t, v, len(c.split), 1, c.split...)
		o := models.BuildOptions{Batch: 3, DType: graph.Float64, DropPath: c.rate}
		for _, method := range []struct {
			name   string
			build  func(modules ...int) (*models.Graph, []*graph.Node)
			blocks int
		}{
			{"incubation", func(m ...int) (*models.Graph, []*graph.Node) { return train(t, o, hybrids(d, m...)...) }, c.hybrids},
			{"imitation", func(m ...int) (*models.Graph, []*graph.Node) { return imitate(t, o, d, m...) }, c.imitated},
		} {
			t.Run(fmt.Sprintf("%s/%v/%v", method.name, c.split, c.rate), func(t *testing.T) {
				g, grads := method.build(modules...)
				losses, together, blocks := step(t, g, grads)
				if blocks != method.blocks {
					t.Errorf("%d blocks are computed, want %d", blocks, method.blocks)
				}
				trained := 0
				for _, i := range modules {
					g, grads := method.build(i)
					loss, alone, _ := step(t, g, grads)
					if loss[0] != losses[i-1] {
						t.Errorf("module %d: loss %v alone, %v together", i, loss[0], losses[i-1])
					}
					var own []string
					for _, p := range d.Hybrid(i).Params() {
						if p.Owner == models.Target {
							own = append(own, p.Leaf())
						}
					}
					slices.Sort(own)
					if got := slices.Sorted(maps.Keys(alone)); !slices.Equal(got, own) {
						t.Errorf("module %d trains %v, want %v", i, got, own)
					}
					for leaf, want := range alone {
						if !slices.Equal(together[leaf], want) {
							t.Errorf("%s: the gradients alone and together differ", leaf)
						}
					}
					trained += len(alone)
				}
				if trained != len(together) {
					t.Errorf("%d parameters train together, %d alone", len(together), trained)
				}
			})
		}
	}
}

// TestImitationGradients checks every parameter against float64 central
// differences.
func TestImitationGradients(t *testing.T) {
	d := division(t, small, 2, 1)
	for i := 1; i <= 2; i++ {
		g, grads := imitate(t, models.BuildOptions{Batch: 3, DType: graph.Float64, DropPath: 0.2}, d, i)
		_, e := compile[float64](t, g, append([]*graph.Node{g.Loss}, grads...)...)
		e.Run()
		analytic := make([][]float64, len(grads))
		for j, n := range grads {
			analytic[j] = slices.Clone(e.Data(n))
		}
		worst := 0.0
		for j, p := range g.Params() {
			x, largest := e.Data(p), 0.0
			for _, v := range analytic[j] {
				largest = max(largest, math.Abs(v))
			}
			if largest == 0 {
				t.Errorf("module %d: %s has no gradient", i, p.Name())
			}
			for n := 0; n < len(x); n += 1 + len(x)/20 {
				old := x[n]
				loss := func(h float64) float64 { x[n] = old + h; e.Run(); return e.Data(g.Loss)[0] }
				const h = 1e-5 // |x| has a kink, which larger steps would reach
				numeric := (8*(loss(h)-loss(-h)) - (loss(2*h) - loss(-2*h))) / (12 * h)
				x[n] = old
				worst = max(worst, math.Abs(numeric-analytic[j][n])/largest)
			}
		}
		t.Logf("module %d: worst error %.1e", i, worst)
		if !(worst <= 1e-6) {
			t.Errorf("module %d: worst error %g of a parameter's largest gradient", i, worst)
		}
	}
}

// TestImitationLoss checks that a module with the meta module's weights imitates it
// perfectly (paper, Figure 2a), and that the loss of the last module, whose input is that
// in the hybrid network, is the distance of two networks' logits.
func TestImitationLoss(t *testing.T) {
	o := models.BuildOptions{Batch: 3, DType: graph.Float64}
	oracle := division(t, small, 2, 2)
	for i := 1; i <= 2; i++ {
		g, _ := imitate(t, o, oracle, i)
		_, e := compile[float64](t, g, g.Loss)
		e.Run()
		if e.Data(g.Loss)[0] == 0 {
			t.Errorf("module %d: no loss with weights of its own", i)
		}
		for _, p := range g.Params() {
			copy(e.Data(p), e.Data(g.Leaf("meta/"+strings.TrimPrefix(p.Name(), "target/"))))
		}
		e.Run()
		if loss := e.Data(g.Loss)[0]; loss != 0 {
			t.Errorf("module %d: loss %v with the meta module's weights", i, loss)
		}
	}

	d := division(t, small, 2, 1)
	g, _ := imitate(t, o, d, 2)
	_, e := compile[float64](t, g, g.Loss)
	e.Run()
	both, err := models.BuildEvaluation(t.Context(), []models.Network{d.Hybrid(2), d.MetaNet()}, o)
	if err != nil {
		t.Fatal(err)
	}
	ours, meta := both.Outputs[0].Logits, both.Outputs[1].Logits
	_, be := compile[float64](t, both, ours, meta)
	be.Run()
	want := 0.0
	for i, x := range be.Data(ours) {
		want += math.Abs(x-be.Data(meta)[i]) / float64(len(be.Data(ours)))
	}
	if got := e.Data(g.Loss)[0]; math.Abs(got-want) > 1e-14 {
		t.Errorf("module 2: loss %v, want %v", got, want)
	}
}

// TestOnlyTheTargetDropsInImitation checks that the meta model, the teacher, has no drop
// path.
func TestOnlyTheTargetDropsInImitation(t *testing.T) {
	d := division(t, small, 2, 2)
	for _, c := range []struct {
		build func(models.BuildOptions) (*models.Graph, error)
		want  []string // owner, block, rate of the attention branch
	}{
		{func(o models.BuildOptions) (*models.Graph, error) {
			return models.BuildImitation(t.Context(), d, []int{2}, o)
		},
			[]string{"target 2 0.20", "target 3 0.30"}},
		{func(o models.BuildOptions) (*models.Graph, error) {
			return models.BuildTraining(t.Context(), hybrids(d, 2), o)
		}, []string{"meta 1 0.10", "target 2 0.20", "target 3 0.30"}},
		{func(o models.BuildOptions) (*models.Graph, error) {
			return models.BuildEvaluation(t.Context(), hybrids(d, 2), o)
		}, nil},
	} {
		g, err := c.build(models.BuildOptions{Batch: 3, DropPath: 0.3})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, dp := range g.DropPaths {
			if dp.Branch != i%2 || !dp.Node.Shape().Eq(graph.Shape{3}) {
				t.Errorf("input %d: branch %d, shape %v", i, dp.Branch, dp.Node.Shape())
			}
			if dp.Branch == 0 {
				got = append(got, fmt.Sprintf("%s %d %.2f", dp.Layer.Owner, dp.Layer.Block, dp.Rate))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("drop %v, want %v", got, c.want)
		}
	}
}

// TestEvaluationEqualsTraining checks that the mean of the samples' losses is the loss of
// training, and that a sample is right if the largest logit is at the largest target.
func TestEvaluationEqualsTraining(t *testing.T) {
	o := models.BuildOptions{Batch: 3, DType: graph.Float64}
	d := division(t, small, 2, 1)
	training, _ := train(t, o, d.Hybrid(2))
	_, te := compile[float64](t, training, training.Loss)
	te.Run()
	g, err := models.BuildEvaluation(t.Context(), hybrids(d, 2), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.Params()); n != 0 || g.Loss != nil {
		t.Errorf("evaluation trains %d parameters with loss %v", n, g.Loss)
	}
	out := g.Outputs[0]
	_, e := compile[float64](t, g, out.Losses, out.Correct, out.Logits)
	e.Run()
	sum, classes := 0.0, d.Target.Classes
	for i, loss := range e.Data(out.Losses) {
		sum += loss
		logits, targets := e.Data(out.Logits)[i*classes:][:classes], e.Data(g.Targets)[i*classes:][:classes]
		want := 0.0
		if slices.Index(logits, slices.Max(logits)) == slices.Index(targets, slices.Max(targets)) {
			want = 1
		}
		if got := e.Data(out.Correct)[i]; got != want {
			t.Errorf("sample %d: correct is %v, want %v", i, got, want)
		}
	}
	if got, want := sum/3, te.Data(training.Loss)[0]; math.Abs(got-want) > 1e-12 {
		t.Errorf("mean loss %v, in training %v", got, want)
	}
}

func TestBuildErrors(t *testing.T) {
	d := division(t, small, 2, 1)
	for _, c := range []struct {
		networks []models.Network
		o        models.BuildOptions
		want     string
	}{
		{nil, models.BuildOptions{Batch: 1}, "0 networks"},
		{hybrids(d, 1), models.BuildOptions{}, "batches of 0"},
		{hybrids(d, 1), models.BuildOptions{Batch: 1, DropPath: 1}, "the drop path rate is 1"},
		{hybrids(d, 1), models.BuildOptions{Batch: 1, DropPath: -0.1}, "the drop path rate is -0.1"},
	} {
		if _, err := models.BuildTraining(t.Context(), c.networks, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
