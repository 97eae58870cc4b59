//go:build gpu

package cuda

import (
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/runs"
)

// TestMeters: what is said of the GPUs that learners are on.
func TestMeters(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	emulation.Start(t, "kernels/all.cu")
	b, err := Open([]int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d := small(4, 2)
	tr, err := b.NewTrainer(newJob(d, false, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if said := strings.Join(tr.Remarks(), "\n"); !strings.Contains(said, "cuda:0 ") || !strings.Contains(said, " trains stage-1\ncuda:1 ") {
		t.Errorf("where learners are is said as %q", said)
	}
	const speed = 1e9 // images a second
	all := tr.(backend.Meter)
	for i := range 2 {
		var got map[string]float64
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if got = all.Meters(i, speed); len(got) > 2 || time.Now().After(deadline) {
				break
			}
		}
		products := got[runs.GPUProducts]
		// That counts LayerNorm too, which is little but in a network as small.
		// It also counts all tokens behind the last attention, where the class
		// token is enough: for the output, its gradient and, if the block is
		// trained, that of the weights.
		v, passes := d.Target, int64(2+i)
		spared := passes * int64(v.Patches()) * int64(v.Width) * int64(v.Width+2*v.Hidden())
		if want := 2 * speed * float64(d.Hybrid(i+1).Cost().Step-spared); math.Abs(products/want-1) > 0.05 {
			t.Errorf("%g products a second, a network's cost says %g", products, want)
		}
		want := map[string]float64{runs.GPU: float64(i), runs.GPUProducts: products}
		if !emulation.Real() {
			maps.Copy(want, map[string]float64{runs.GPUBusy: 97, runs.GPUMemory: 3 << 30, runs.GPUMemoryTotal: 8 << 30, runs.GPUTemperature: 54, runs.GPUPower: 412.5})
			if !maps.Equal(got, want) {
				t.Errorf("learner %d: %v, want %v", i, got, want)
			}
		}
		g := b.(gpus)[i]
		name := g.Name
		g.Name = "NVIDIA H200"
		if got := all.Meters(i, speed)[runs.MFU]; math.Abs(got/(100*products/989e12)-1) > 1e-9 {
			t.Errorf("MFU %g %%", got)
		}
		g.Name = name
	}
}
