package pipeline

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"hatchery/engine/cpu"
	"hatchery/engine/cpu/gemm"
	"hatchery/engine/cuda"
	"hatchery/engine/method"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// Speed is the training speed of a device, and how it was determined.
type Speed struct {
	Device string  // "cpu, 16 cores", "cuda:0 NVIDIA H200", "A100"
	MACs   float64 // multiply-accumulates of training steps per second, as in Estimate.MACs
	Basis  string  // "measured in run ...", "a guess: 30 % of ..."
	Guess  bool    // whether it was not measured in training
}

// Hours returns the time for a number of multiply-accumulates.
func (s Speed) Hours(macs float64) float64 { return macs / s.MACs / 3600 }

// The assumed fractions of a device's peak that training reaches, if nothing was measured.
const (
	gpuShare = 0.3 // of the tensor cores' bfloat16
	cpuShare = 0.5 // of a large matrix product
)

// GPUSpeed returns a guess at the speed of a GPU with the given name, which need not be
// present. It returns false if the GPU's peak is unknown.
func GPUSpeed(name string) (Speed, bool) {
	peak, ok := cuda.Peak(name)
	if !ok {
		return Speed{}, false
	}
	return Speed{Device: name, MACs: gpuShare * peak / 2, Guess: true,
		Basis: fmt.Sprintf("a guess: %s of the peak of %s", quantity.Percent(100*gpuShare), quantity.Rate(peak, "FLOP"))}, true
}

// MachineSpeed returns the training speed of the device of an experiment. It is measured in a
// run of this machine in the folder root, the one with the most similar cost of the target
// model. If there is none, it is a guess, from the name of the GPU or from a matrix product
// that is timed for a tenth of a second. MachineSpeed returns false if it cannot determine a
// speed or if ctx is done.
func MachineSpeed(ctx context.Context, c *presets.Config, root string) (Speed, bool) {
	d, err := device(c)
	if err != nil {
		return Speed{}, false
	}
	name := "cpu"
	if d.Kind != "cpu" {
		if name, err = cuda.Names(d.GPUs); err != nil {
			return Speed{}, false
		}
	}
	if s, ok := measuredSpeed(ctx, c, root, name); ok {
		return s, true
	}
	if ctx.Err() != nil {
		return Speed{}, false
	}
	if d.Kind != "cpu" {
		return GPUSpeed(name)
	}
	return cpuSpeed(c.Run.Threads)
}

// measuredSpeed returns the speed in the most similar run of this host on a device.
func measuredSpeed(ctx context.Context, c *presets.Config, root, device string) (Speed, bool) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return Speed{}, false
	}
	type candidate struct {
		dir      string
		config   *presets.Config
		distance float64 // from c, as the logarithm of the ratio of their costs
		started  time.Time
	}
	var all []candidate
	host, _ := os.Hostname()
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		status, err := runs.ReadStatus(dir)
		if err != nil || status.Host != host {
			continue
		}
		other, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
		if err != nil {
			continue
		}
		ratio := float64(cost(c.Model)) / float64(cost(other.Model))
		all = append(all, candidate{dir, other, math.Abs(math.Log(ratio)), status.Started})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.distance != b.distance {
			return int(math.Copysign(1, a.distance-b.distance))
		}
		return b.started.Compare(a.started)
	})
	for _, k := range all {
		state, err := runs.ReadState(ctx, k.dir)
		if err != nil || state.Environment["device"] != device {
			continue
		}
		if macs, seconds := measuredWork(k.config, k.dir); seconds > 0 {
			return Speed{Device: describeDevice(device), MACs: macs / seconds, Basis: "measured in run " + filepath.Base(k.dir)}, true
		}
	}
	return Speed{}, false
}

// cost returns the MACs of a forward pass, for comparing networks.
func cost(v models.ViT) int64 {
	d := models.Division{Target: v, Split: []int{v.Depth}, MetaDepth: 1}
	return d.TargetNet().Cost().Forward
}

// measuredWork returns the total work and the total time of the finished stages of a run.
func measuredWork(c *presets.Config, dir string) (macs, seconds float64) {
	d, err := division(c)
	if err != nil {
		return 0, 0
	}
	for _, s := range method.Stages(c) {
		o, err := runs.ReadOutcome(dir, s.Name)
		if err != nil || o == nil || o.Origin != "" || !s.Trains() {
			continue
		}
		t := newTrainStage(c, d, s)
		macs += float64(t.network.Cost().Step) * float64(o.Step) * float64(t.recipe.Batch)
		seconds += o.Values[TrainSeconds]
	}
	return macs, seconds
}

// cpuSpeed guesses the speed of the CPU. It times a matrix product of the size of a ViT's
// layers.
func cpuSpeed(threads int) (Speed, bool) {
	const n, least = 768, 100 * time.Millisecond
	pool := cpu.NewPool(threads)
	defer pool.Close()
	shape := gemm.Shape{M: n, N: n, K: n, LDA: n, LDB: n, LDC: n}
	plan, err := gemm.New(shape, pool.Workers())
	if err != nil {
		return Speed{}, false
	}
	operands := gemm.Operands{Alpha: 1, A: make([]float32, n*n), B: make([]float32, n*n), C: make([]float32, n*n)}
	scratch := make([]float32, plan.Scratch())
	var products int
	start := time.Now()
	for time.Since(start) < least {
		plan.Run(pool, scratch, operands)
		products++
	}
	peak := float64(products) * n * n * n / time.Since(start).Seconds()
	return Speed{Device: describeDevice("cpu"), MACs: cpuShare * peak, Guess: true,
		Basis: fmt.Sprintf("a guess: %s of the speed of a matrix product just now, %s", quantity.Percent(100*cpuShare), quantity.Rate(2*peak, "FLOP"))}, true
}

func describeDevice(device string) string {
	if device == "cpu" {
		return fmt.Sprintf("cpu, %d cores", runtime.GOMAXPROCS(0))
	}
	return device
}
