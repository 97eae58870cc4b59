//go:build gpu

package cuda

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/runs"
)

// TestMeters checks the readings of the GPUs of several learners.
func TestMeters(t *testing.T) {
	testGPU(t, kernels.BF16)
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	for devices := 1; devices <= 2; devices++ {
		t.Run(fmt.Sprintf("%d devices", devices), func(t *testing.T) {
			if devices == 1 {
				testMeters(t, gpus{testGPU(t, kernels.BF16)})
				return
			}
			if n, err := Count(); n < devices {
				t.Skipf("this machine has %d (%v)", n, err)
			}
			b, err := Open([]int{0, 1})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			testMeters(t, b.(gpus))
		})
	}
}

func testMeters(t *testing.T, b gpus) {
	d := small(4, 2)
	tr, err := b.NewTrainer(newJob(d, false, []int{1, 2}[:len(b)]...))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	// That there is one goes without saying.
	if said := strings.Join(tr.Remarks(), "\n"); len(b) > 1 && (!strings.Contains(said, "cuda:0 ") || !strings.Contains(said, " trains stage-1\ncuda:1 ")) {
		t.Errorf("where learners are is said as %q", said)
	}
	const speed = 1e9 // images a second
	all := tr.(backend.Meter)
	for i, g := range b {
		var got map[string]float64
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			got = all.Meters(i, speed)
			if _, read := got[runs.GPUBusy]; read || time.Now().After(deadline) {
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
		if emulation.OnCard() {
			// A virtual card may keep its temperature and power to itself.
			if got[runs.GPU] != float64(i) || got[runs.GPUBusy] < 0 || got[runs.GPUBusy] > 100 ||
				!(got[runs.GPUMemory] > 0 && got[runs.GPUMemory] <= got[runs.GPUMemoryTotal]) {
				t.Errorf("learner %d: %v", i, got)
			}
		} else {
			want := map[string]float64{runs.GPU: float64(i), runs.GPUProducts: products,
				runs.GPUBusy: 97, runs.GPUMemory: 3 << 30, runs.GPUMemoryTotal: 8 << 30, runs.GPUTemperature: 54, runs.GPUPower: 412.5}
			if !maps.Equal(got, want) {
				t.Errorf("learner %d: %v, want %v", i, got, want)
			}
		}
		name := g.Name
		g.Name = "NVIDIA H200"
		if got := all.Meters(i, speed)[runs.MFU]; math.Abs(got/(100*products/989e12)-1) > 1e-9 {
			t.Errorf("MFU %g %%", got)
		}
		g.Name = name
	}
}
