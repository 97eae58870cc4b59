//go:build gpu

package pipeline

import (
	"errors"
	"strings"
	"testing"

	"hatchery/engine/cuda"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/runs"
)

// TestRunOnGPUs: a whole experiment on two GPUs, or on one where there is one,
// interrupted and gone on with, leaves what it leaves on one.
func TestRunOnGPUs(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	emulation.Start(t, "../cuda/kernels/all.cu")
	sets := []string{
		"data.train=24", "data.eval=10", "model.depth=2", "train.batch=4", "e2e.batch=4", "meta.epochs=1", "schedule=2+1", "e2e.epochs=1",
		"train.warmup_epochs=0", "meta.warmup_epochs=0", "run.together=true", "run.methods=[\"assembling\"]", "train.clip_grad=0", "finetune.clip_grad=0",
		"train.ema=0.9", "finetune.optimizer=lamb", "finetune.ema=0.9", "finetune.ema_mode=instead",
	}
	one := config(t, append(sets, "run.device=cuda")...)
	want := final(t, one, executeAll(t, one))

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
	control := NewControl()
	control.Pause()
	ended := make(chan error, 1)
	go func() { ended <- Execute(t.Context(), two, run, control) }()
	if err := control.Await(t.Context(), func(s ControlState) bool { return s.Paused }); err != nil {
		t.Fatal(err)
	}
	control.StopAfterEpoch()
	control.Continue()
	if err := errors.Join(<-ended, run.Close()); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	if run, err = runs.Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Execute(t.Context(), two, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	same(t, "on two devices", want, final(t, two, dir))
	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	placed := false
	for _, e := range events {
		placed = placed || e.Kind == runs.Info && strings.HasPrefix(e.Message, "cuda:1 ") && strings.HasSuffix(e.Message, " trains module-2")
		if _, metered := e.Values[runs.GPU]; e.Kind == runs.Step && !metered {
			t.Errorf("an event of %s does not say how its GPU is: %v", e.Stage, e.Values)
		}
		if e.Kind == runs.Warning && strings.Contains(e.Message, "goes on on") {
			t.Errorf("warned of another device: %s", e.Message)
		}
	}
	if n > 1 && !placed {
		t.Error("no event says which GPU a module is on")
	}
}
