package pipeline

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestEveryPresetPlans checks that every preset has stages with costs, even large ones.
func TestEveryPresetPlans(t *testing.T) {
	infos, err := presets.List()
	if err != nil {
		t.Fatal(err)
	}
	planned := map[any]bool{} // models and divisions: graphs of deep networks take a while
	for _, info := range infos {
		if info.Abstract || info.Record {
			continue
		}
		c, err := presets.Load(info.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(c); err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
		images := TrainImages(c)
		if images == 0 {
			t.Errorf("%s: the size of %s is not known", info.Name, c.Data.Name)
		}
		if id := [2]any{c.Model, c.Final()}; planned[id] {
			continue
		} else {
			planned[id] = true
		}
		estimates, err := Plan(t.Context(), c, images)
		if err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
		for _, e := range estimates {
			if e.Trains() && (e.MACs() <= 0 || e.Memory() <= 0 || e.Steps <= 0) {
				t.Errorf("%s: %s takes %g MACs, %d bytes, %d steps", info.Name, e.Name, e.MACs(), e.Memory(), e.Steps)
			}
		}
		for _, m := range c.Run.Methods {
			// A training step costs nearly three forward passes, so the cost of
			// end-to-end training follows from the paper's numbers.
			if want := 3 * float64(cost(c.Model)) * float64(c.E2E.Epochs) * float64(images); m == "e2e" && c.HighRes.Image == 0 {
				if got := MethodMACs(m, estimates); math.Abs(got/want-1) > 0.03 {
					t.Errorf("%s: end-to-end training takes %.3g MACs, about %.3g expected", info.Name, got, want)
				}
			}
		}
	}
}

func TestMeasuredSpeed(t *testing.T) {
	small, large := config(t, "run.methods=assembling"), config(t, "run.methods=assembling", "model.depth=8")
	root := t.TempDir()
	execute := func(name string, c *presets.Config) {
		run, err := runs.Create(root, name, c.TOML())
		if err != nil {
			t.Fatal(err)
		}
		if err := Execute(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := measuredSpeed(t.Context(), small, root, "cpu"); ok {
		t.Error("measured in no run")
	}
	guess, ok := MachineSpeed(t.Context(), small, root)
	if !ok || guess.MACs <= 0 || !strings.HasPrefix(guess.Basis, "a guess: 50 %") {
		t.Errorf("without a run: %+v", guess)
	}
	execute("small", small)
	execute("large", large)
	for name, c := range map[string]*presets.Config{"small": small, "large": large} {
		s, ok := MachineSpeed(t.Context(), c, root)
		if !ok || s.Basis != "measured in run "+name {
			t.Fatalf("%s: %+v", name, s)
		}
		// The same from estimates and from the times that the stages report.
		estimates, err := Plan(t.Context(), c, datasetSize(t, c))
		if err != nil {
			t.Fatal(err)
		}
		seconds := 0.0
		for _, stage := range method.Stages(c) {
			o, err := runs.ReadOutcome(filepath.Join(root, name), stage.Name)
			if err != nil {
				t.Fatal(err)
			}
			seconds += o.Values[TrainSeconds]
		}
		if want := MethodMACs("assembling", estimates) / seconds; math.Abs(s.MACs/want-1) > 1e-9 {
			t.Errorf("%s: %g MACs a second, want %g", name, s.MACs, want)
		}
	}
	// Runs of other machines are ignored.
	status := filepath.Join(root, "small", "status.json")
	text, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if err := os.WriteFile(status, []byte(strings.ReplaceAll(string(text), `"`+host+`"`, `"elsewhere"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, ok := measuredSpeed(t.Context(), small, root, "cpu"); !ok || s.Basis != "measured in run large" {
		t.Errorf("with small on another machine: %+v", s)
	}
	if _, ok := measuredSpeed(t.Context(), small, root, "cuda:0 NVIDIA H200"); ok {
		t.Error("runs on the processor tell of a GPU")
	}
}

func datasetSize(t *testing.T, c *presets.Config) int {
	t.Helper()
	train, _, err := datasets.Open(t.Context(), Source(c))
	if err != nil {
		t.Fatal(err)
	}
	return train.Len()
}

func TestGPUSpeed(t *testing.T) {
	for name, want := range map[string]float64{ // TFLOP/s
		"NVIDIA A100-SXM4-80GB": 312, "cuda:0 NVIDIA H200": 989, "NVIDIA H100 PCIe": 756, "NVIDIA H100 80GB HBM3": 989, "NVIDIA L40S": 362, "NVIDIA L4": 121,
	} {
		if s, ok := GPUSpeed(name); !ok || math.Abs(s.MACs-want*1e12/2*gpuShare) > 1 {
			t.Errorf("%s: %+v, want %g TFLOP/s", name, s, want)
		}
	}
	if _, ok := GPUSpeed("GeForce GTX 1080"); ok {
		t.Error("an unknown GPU has a peak")
	}
}
