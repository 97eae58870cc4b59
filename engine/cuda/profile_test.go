//go:build gpu

package cuda

import (
	"testing"

	"hatchery/engine/cuda/kernels"
)

// TestProfile checks that each operation of a step appears once, with its work over all
// passes, and that the trainer is usable afterwards.
func TestProfile(t *testing.T) {
	d := small(2, 1)
	g := testGPU(t, kernels.BF16)
	for _, micro := range []int{0, 2} {
		j := newJob(d, false)
		j.Recipe.MicroBatch = micro
		tr, err := g.newTrainer(j, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		b := newBatch(d.Target, 0)
		if err := tr.Step(b, 1e-3); err != nil {
			t.Fatal(err)
		}
		profile, err := Profiler(tr).Profile(2)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		var flops int64
		for _, x := range profile {
			counts[x.Name]++
			flops += x.FLOPs
			if x.Bytes <= 0 || x.Time < 0 || x.Kernel == "" {
				t.Errorf("%+v", x)
			}
		}
		if counts["attention"] != 2 || counts["attention_backward"] != 2 || counts["optimizer"] != 1 {
			t.Errorf("operations of two blocks: %v", counts)
		}
		if want := 2 * tr.prepared.program.MACs; flops != want {
			t.Errorf("%d floating-point operations, want %d", flops, want)
		}
		if device, host, err := tr.Replay(2); err != nil || device < 0 || host <= 0 {
			t.Errorf("Replay: %v, %v, %v", device, host, err)
		}
		if err := tr.Step(b, 1e-3); err != nil {
			t.Fatal(err)
		}
		if err := tr.Losses(make([]float64, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProfileOfSeveral checks that several learners, which run concurrently, cannot be
// profiled.
func TestProfileOfSeveral(t *testing.T) {
	g := testGPU(t, kernels.BF16)
	j := newJob(small(2, 2), false, 1, 2)
	tr, err := g.newTrainer(j, []int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Profile(1); err == nil {
		t.Error("no error")
	}
}

func TestMeasureRoof(t *testing.T) {
	testGPU(t, kernels.BF16)
	r, err := MeasureRoof(0, 1<<16, 16)
	if err != nil || r.Copy <= 0 || r.Product <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
