package pipeline

import (
	"errors"
	"math"
	"testing"

	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// tiny holds the settings of an experiment that takes seconds, with every method and all kinds
// of randomness.
var tiny = []string{
	"data.train=200", "data.eval=100", "model.width=16", "model.heads=2", "model.depth=4", "modules.k=2",
	"train.batch=50", "e2e.batch=50", "train.warmup_epochs=1", "finetune.warmup_epochs=0", "e2e.warmup_epochs=0",
	"meta.epochs=2", "schedule=2+2", "e2e.epochs=2", "train.drop_path=0.2", "meta.drop_path=0",
	"augment.mixup=0.8", "augment.cutmix=1.0", "train.schedule_unit=epoch", "run.equal=epochs", `run.methods=["assembling","imitation","e2e"]`,
}

func config(t *testing.T, sets ...string) *presets.Config {
	t.Helper()
	c, err := presets.Load("quickstart", append(append([]string{}, tiny...), sets...))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), c, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return c
}

// newRun creates a run for c.
func newRun(t *testing.T, c *presets.Config) *runs.Run {
	t.Helper()
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// executeAll executes c to its end and returns the run folder.
func executeAll(t *testing.T, c *presets.Config) string {
	t.Helper()
	run := newRun(t, c)
	if err := errors.Join(Execute(t.Context(), c, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	return run.Dir()
}

// final returns the final tensors of the stages of a run, by stage and name.
func final(t *testing.T, c *presets.Config, dir string) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, s := range method.Stages(c) {
		checkpoint, err := runs.LoadFinal(dir, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range checkpoint.Tensors {
			all[s.Name+": "+tensor.Name] = tensor.Data
		}
	}
	return all
}

// same fails the test unless the tensors are equal bit for bit.
func same(t *testing.T, what string, want, got map[string][]float32) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: %d tensors, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		for i, x := range got[name] {
			if math.Float32bits(x) != math.Float32bits(w[i]) {
				t.Fatalf("%s: %s[%d] is %v, want %v", what, name, i, x, w[i])
			}
		}
	}
}

func TestThreadsDoNotChangeResults(t *testing.T) {
	want := final(t, config(t, "run.threads=1"), executeAll(t, config(t, "run.threads=1")))
	for _, threads := range []string{"2", "3", "7"} {
		c := config(t, "run.threads="+threads)
		same(t, threads+" threads", want, final(t, c, executeAll(t, c)))
	}
}

// TestShapes executes experiments with unusual divisions.
func TestShapes(t *testing.T) {
	for _, sets := range [][]string{
		{"modules.k=1"},
		{"modules.split=[3,1]"},
		{"modules.meta_depth=2", "run.together=false"},
		{"model.qkv_bias=false", "train.schedule_unit=step"},
	} {
		c := config(t, sets...)
		dir := executeAll(t, c)
		events, err := runs.ReadEvents(dir)
		if err != nil {
			t.Fatal(err)
		}
		state := runs.Fold(events)
		if len(state.Results) != 3 {
			t.Fatalf("%v: %d methods have results, want 3", sets, len(state.Results))
		}
		if !method.HasStageInfo(state) {
			t.Errorf("%v: the events do not say what the stages are", sets)
		}
		for _, s := range method.Stages(c) {
			final, err := runs.LoadFinal(dir, s.Name)
			if err != nil {
				t.Fatal(err)
			}
			score, _, err := Evaluate(t.Context(), c, dir, s, final)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := score.Top1, state.Stage(s.Name).Results[runs.Top1]; got != want {
				t.Errorf("%v: %s evaluates to %v, the run said %v", sets, s.Name, got, want)
			}
		}
	}
}

// TestCheckpointHoldsTheModuleAlone checks that the checkpoint of a module has only that module,
// with the names of the target model, so that assembling is a union.
func TestCheckpointHoldsTheModuleAlone(t *testing.T) {
	c := config(t)
	dir := executeAll(t, c)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= d.K(); i++ {
		checkpoint, err := runs.LoadFinal(dir, method.Stages(c)[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, p := range d.Hybrid(i).Params() {
			if !p.Frozen {
				want[p.Name] = true
			}
		}
		for _, tensor := range checkpoint.Tensors {
			if optim.IsState(tensor.Name) {
				continue
			}
			if !want[tensor.Name] {
				t.Errorf("module %d's checkpoint holds %s", i, tensor.Name)
			}
			delete(want, tensor.Name)
		}
		if len(want) > 0 {
			t.Errorf("module %d's checkpoint lacks %v", i, want)
		}
	}
}
