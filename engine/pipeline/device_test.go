package pipeline

import (
	"errors"
	"strings"
	"testing"

	"hatchery/engine/cuda"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestDevice checks that a run on the CPU needs no GPU, and that a run on a missing GPU does not
// start.
func TestDevice(t *testing.T) {
	if n, _ := cuda.Count(); n > 0 {
		t.Skip("this machine has a GPU")
	}
	for _, device := range []string{"auto", "cpu"} {
		b, err := openBackend(config(t, "run.device="+device))
		if err != nil {
			t.Fatal(err)
		}
		if kind := b.Info().Kind; kind != "cpu" {
			t.Errorf("%q opens %q", device, kind)
		}
		b.Close()
	}
	c, err := presets.Load("quickstart", append(append([]string{}, tiny...), "run.device=cuda:0,1"))
	if err != nil {
		t.Fatal(err)
	}
	var invalid *Invalid
	if err := Check(t.Context(), c, t.TempDir()); !errors.As(err, &invalid) || !strings.Contains(err.Error(), `run.device = "cuda:0,1"`) {
		t.Errorf("got %v", err)
	}
}

// beginEpoch executes a run to the end of its first stage's first epoch.
func beginEpoch(t *testing.T, c *presets.Config, run *runs.Run) {
	t.Helper()
	control := NewControl()
	control.Pause()
	ended := make(chan error, 1)
	go func() { ended <- Execute(t.Context(), c, run, control) }()
	if err := control.Await(t.Context(), func(s ControlState) bool { return s.Paused }); err != nil {
		t.Fatal(err)
	}
	control.StopAfterEpoch()
	control.Continue()
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
}

// TestResumeOnAnotherDevice checks that the run continues and warns of different rounding.
func TestResumeOnAnotherDevice(t *testing.T) {
	c := config(t, `run.methods=["e2e"]`, "run.device=cpu")
	run := newRun(t, c)
	defer run.Close()
	beginEpoch(t, c, run)
	// As if it had been trained on another device.
	checkpoint, _, err := runs.LoadLatest(run.Dir(), "e2e")
	if err != nil {
		t.Fatal(err)
	}
	if got := checkpoint.Metadata[metaDevice]; got != "cpu" {
		t.Errorf("the checkpoint is of device %q, want cpu", got)
	}
	checkpoint.Metadata[metaDevice] = "cuda"
	if err := run.Save(checkpoint); err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), c, run, nil); err != nil {
		t.Fatal(err)
	}
	events, err := runs.ReadEvents(run.Dir())
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, e := range events {
		if e.Kind == runs.Warning && strings.Contains(e.Message, "trained on cuda so far and continues on cpu") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d warnings that the device changed, want 1", said)
	}
}
