package pipeline

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cpu/isa"
	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/models"
	"hatchery/presets"
)

// TestFiftySteps checks that neither threads nor instruction sets change the weights.
func TestFiftySteps(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	after := func(n int, level isa.Level, threads int) map[string][]float32 {
		before, err := isa.Use(level)
		if err != nil {
			t.Fatal(err)
		}
		defer isa.Use(before)
		b := host.Open(threads)
		defer b.Close()
		return steps(t, c, []*trainStage{stageOf(t, c, d, "module-1")}, weights{}, b, n)
	}
	for level := isa.Go; level <= isa.Best(); level++ {
		n := 50
		if level == isa.Go && runtime.GOARCH == "amd64" {
			n = 3 // an exact multiply-add in software is slow
		}
		want := after(n, isa.Best(), 1)
		for _, threads := range []int{1, 2, 3, 7} {
			same(t, fmt.Sprintf("%d steps with %v and %d threads", n, level, threads), want, after(n, level, threads))
		}
	}
}

// stageOf returns a stage of any method, regardless of run.methods.
func stageOf(t testing.TB, c *presets.Config, d models.Division, name string) *trainStage {
	t.Helper()
	all := *c
	all.Run.Methods = method.Names()
	s, ok := method.Find(&all, name)
	if !ok {
		t.Fatalf("no method has a stage %s", name)
	}
	return newTrainStage(c, d, s)
}

// TestFrozenMeta checks that modular training does not change the parameters of the meta model.
func TestFrozenMeta(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	b := host.Open(2)
	defer b.Close()
	for _, kind := range []string{"module", "imitation"} {
		w := weights{}
		w.initialise(d.MetaNet().Params(), 1)
		before := map[string][]float32{}
		for name, data := range w {
			before[name] = append([]float32{}, data...)
		}
		stages := []*trainStage{
			stageOf(t, c, d, kind+"-1"),
			stageOf(t, c, d, kind+"-2"),
		}
		trained := steps(t, c, stages, w, b, 5)
		for name, want := range before {
			for i, x := range w[name] {
				if x != want[i] {
					t.Fatalf("%s: %s changed", kind, name)
				}
			}
		}
		if len(trained) == 0 {
			t.Fatalf("%s: nothing was trained", kind)
		}
	}
}

// batches returns the loader of a stage's training batches.
func batches(t *testing.T, c *presets.Config, s *trainStage, on backend.Backend) *datasets.Loader {
	t.Helper()
	train, eval, err := datasets.Open(t.Context(), Source(c))
	if err != nil {
		t.Fatal(err)
	}
	set, err := newView(c, train, eval).trainSet(s.Stage)
	if err != nil {
		t.Fatal(err)
	}
	loader, err := (&runner{config: c, train: train, backend: on}).trainLoader(s, set)
	if err != nil {
		t.Fatal(err)
	}
	return loader
}

// steps trains stages for n steps and returns copies of the trained weights.
func steps(t *testing.T, c *presets.Config, stages []*trainStage, w weights, on backend.Backend, n int) map[string][]float32 {
	t.Helper()
	trainer, err := newTrainer(on, stages, w, c.Seed, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	loader := batches(t, c, stages[0], on)
	for done, epoch := 0, 0; done < n; epoch++ {
		for b, err := range loader.Epoch(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if err := trainer.Step(b, 1e-3); err != nil {
				t.Fatal(err)
			}
			if done++; done == n {
				break
			}
		}
	}
	trained := map[string][]float32{}
	for i, s := range stages {
		tensors, err := trainer.Tensors(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range tensors {
			if !optim.IsState(tensor.Name) {
				trained[s.Name+"/"+tensor.Name] = append([]float32{}, tensor.Data...)
			}
		}
	}
	return trained
}

// distance returns the norm of the difference divided by the norm of want, over all parameters.
func distance(t *testing.T, want, got map[string][]float32) float64 {
	t.Helper()
	var diff, norm float64
	for name, w := range want {
		if len(got[name]) != len(w) {
			t.Fatalf("%s: %d elements, want %d", name, len(got[name]), len(w))
		}
		for i, x := range w {
			d := float64(got[name][i]) - float64(x)
			diff += d * d
			norm += float64(x) * float64(x)
		}
	}
	return math.Sqrt(diff / norm)
}

func TestTogetherEqualsAlone(t *testing.T) {
	c := config(t, "modules.k=4", "augment.mixup=0.8")
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	b := host.Open(2)
	defer b.Close()
	for _, kind := range []string{"module", "imitation"} {
		fresh := func() weights {
			w := weights{}
			w.initialise(d.MetaNet().Params(), 1)
			return w
		}
		var all []*trainStage
		alone := map[string][]float32{}
		for i := 1; i <= d.K(); i++ {
			s := stageOf(t, c, d, fmt.Sprintf("%s-%d", kind, i))
			all = append(all, s)
			maps.Copy(alone, steps(t, c, []*trainStage{s}, fresh(), b, 20))
		}
		together := steps(t, c, all, fresh(), b, 20)
		if len(together) != len(alone) {
			t.Fatalf("%s: %d parameters together, %d alone", kind, len(together), len(alone))
		}
		got := distance(t, alone, together)
		t.Logf("%s: 20 steps together differ from alone by %.1e", kind, got)
		if !(got <= 1e-5) {
			t.Errorf("%s: 20 steps together differ from alone by %g", kind, got)
		}
	}
}

// TestAccumulation checks that passes of half the batch with summed gradients equal the full
// batch.
func TestAccumulation(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	b := host.Open(2)
	defer b.Close()
	whole := steps(t, c, []*trainStage{stageOf(t, c, d, "e2e")}, weights{}, b, 3)
	half := config(t, "e2e.micro_batch=25")
	parts := steps(t, half, []*trainStage{stageOf(t, half, d, "e2e")}, weights{}, b, 3)
	got := distance(t, whole, parts)
	t.Logf("3 steps in two passes each differ by %.1e", got)
	if !(got <= 1e-5) {
		t.Errorf("3 steps in two passes each differ by %g", got)
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	b := host.Open(2)
	defer b.Close()
	w := weights{}
	stages := []*trainStage{
		stageOf(t, c, d, "module-1"),
		stageOf(t, c, d, "module-2"),
	}
	trainer, err := newTrainer(b, stages, w, 0, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	loader := batches(t, c, stages[0], b)
	for b, err := range loader.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(5, func() {
			if err := trainer.Step(b, 1e-3); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("a step makes %v allocations", n)
		}
		break
	}
}

// A fraction of the images trains for as many steps as all images (Table 3 of the paper); a
// given number of images does not.
func TestFractionKeepsTheSteps(t *testing.T) {
	for set, want := range map[string]int{"data.fraction=1": 50, "data.fraction=0.25": 50, "data.train=1250": 12} {
		c, err := presets.Load("quickstart", []string{set, "train.batch=100"})
		if err != nil {
			t.Fatal(err)
		}
		d, err := division(c)
		if err != nil {
			t.Fatal(err)
		}
		b := host.Open(1)
		defer b.Close()
		l := batches(t, c, stageOf(t, c, d, "meta"), b)
		if l.Steps() != want {
			t.Errorf("%s: %d steps an epoch, want %d", set, l.Steps(), want)
		}
	}
}
