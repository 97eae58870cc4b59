//go:build gpu

package pipeline

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cuda"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/runs"
)

// TestRunOnGPUs checks that an interrupted and resumed experiment on two GPUs, or on one if
// there is only one, has the same result as on one GPU, even if timing the products again would
// choose other kernels.
func TestRunOnGPUs(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "3")
	t.Setenv("HATCHERY_EMULATION_TIMES", "product/sum_a/*=90,product/*/1/*=5,product/*=60")
	emulation.Start(t, "../cuda/kernels/all.cu")
	sets := []string{
		"data.train=24", "data.eval=10", "model.depth=2", "train.batch=4", "e2e.batch=4", "meta.epochs=1", "schedule=2+1", "e2e.epochs=1",
		"train.warmup_epochs=0", "meta.warmup_epochs=0", "run.together=true", "run.methods=[\"assembling\"]", "train.clip_grad=0", "finetune.clip_grad=0",
		"train.ema=0.9", "finetune.optimizer=lamb", "finetune.ema=0.9", "finetune.ema_mode=instead",
	}
	one := config(t, append(sets, "run.device=cuda")...)
	first := executeAll(t, one)
	want := final(t, one, first)
	var tuned []string // the stages that timed products
	for _, e := range read(t, first) {
		if e.Kind == runs.Info && strings.Contains(e.Message, " timed its matrix products (") {
			tuned = append(tuned, e.Stage)
		}
	}
	if len(tuned) == 0 || tuned[0] != "meta" || slices.Contains(tuned, "finetune") {
		t.Errorf("products were timed in %v: what one stage found out, later ones use", tuned)
	}

	n, err := cuda.Count()
	if err != nil {
		t.Fatal(err)
	}
	device := "run.device=cuda"
	if n > 1 {
		device = "run.device=cuda:0,1"
	}
	two := config(t, append(sets, device)...)
	run := newRun(t, two)
	dir := run.Dir()
	for _, stage := range []string{"meta", "module-1", "module-2", "finetune"} {
		data, err := runs.ReadTuning(first, stage)
		if err != nil || !strings.Contains(string(data), `"card": "`) {
			t.Errorf("tuning of %s: %v: %s", stage, err, data)
		}
		if emulation.OnCard() { // timing products twice may choose different kernels
			if err := run.SaveTuning(stage, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	beginEpoch(t, two, run)
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HATCHERY_EMULATION_TIMES", "product/*/2/*=5,product/*=60")
	if run, err = runs.Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Execute(t.Context(), two, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	same(t, "on two devices", want, final(t, two, dir))
	placed := false
	for _, e := range read(t, dir) {
		placed = placed || e.Kind == runs.Info && strings.HasPrefix(e.Message, "cuda:1 ") && strings.HasSuffix(e.Message, " trains module-2")
		if _, metered := e.Values[runs.GPU]; e.Kind == runs.Step && !metered {
			t.Errorf("an event of %s does not say how its GPU is: %v", e.Stage, e.Values)
		}
		if e.Kind == runs.Warning && strings.Contains(e.Message, "continues on") {
			t.Errorf("warned of another device: %s", e.Message)
		}
	}
	if n > 1 && !placed {
		t.Error("no event says which GPU a module is on")
	}
}

// read returns the events of a run.
func read(t *testing.T, dir string) []runs.Event {
	t.Helper()
	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestOtherBitsOnGPUs checks that a stage warns of different rounding if it continues without
// its earlier choice of kernels or on another card.
func TestOtherBitsOnGPUs(t *testing.T) {
	emulation.Start(t, "../cuda/kernels/all.cu")
	c := config(t, "data.train=8", "data.eval=4", "model.depth=1", "modules.k=1", "train.batch=4", "e2e.batch=4", "e2e.epochs=3", "e2e.warmup_epochs=0",
		"run.methods=[\"e2e\"]", "run.device=cuda")
	for _, x := range []struct {
		name   string
		change func(t *testing.T, run *runs.Run)
		want   string
	}{
		{"nothing", func(*testing.T, *runs.Run) {}, ""},
		{"no tuning", func(t *testing.T, run *runs.Run) {
			if err := os.Remove(runs.TuningPath(run.Dir(), "e2e")); err != nil {
				t.Fatal(err)
			}
		}, "continues with newly chosen kernels"},
		{"another card", func(t *testing.T, run *runs.Run) {
			c, _, err := runs.LoadLatest(run.Dir(), "e2e")
			if err != nil {
				t.Fatal(err)
			}
			c.Metadata[metaDevice] = "NVIDIA A100, driver 520.1, cuBLAS 11.0.0"
			if err := run.Save(c); err != nil {
				t.Fatal(err)
			}
		}, "trained on NVIDIA A100, driver 520.1, cuBLAS 11.0.0 so far and continues on "},
	} {
		t.Run(x.name, func(t *testing.T) {
			run := newRun(t, c)
			defer run.Close()
			beginEpoch(t, c, run)
			x.change(t, run)
			if err := Execute(t.Context(), c, run, nil); err != nil {
				t.Fatal(err)
			}
			var warned []string
			for _, e := range read(t, run.Dir()) {
				if e.Kind == runs.Warning {
					warned = append(warned, e.Message)
				}
			}
			if x.want == "" && warned != nil || x.want != "" && (len(warned) != 1 || !strings.Contains(warned[0], x.want)) {
				t.Errorf("warned %q, want %q", warned, x.want)
			}
		})
	}
}
