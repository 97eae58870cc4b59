//go:build gpu

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/engine/graph"
	"hatchery/engine/optim"
	"hatchery/models"
	"hatchery/presets"
)

// open opens the first device for a test.
func testGPU(t *testing.T, dtype kernels.DType) *gpu {
	t.Helper()
	emulation.Start(t, "kernels/all.cu")
	g, err := openGPU(0, dtype)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

// small is a network whose sizes are as awkward as the paper's: heads of 12
// columns, a width that no vector divides twice, 5 tokens.
func small(depth, k int) models.Division {
	v := models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 24, Depth: depth, Heads: 2, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 10}
	d, err := models.NewDivision(v, k, nil, 1)
	if err != nil {
		panic(err)
	}
	return d
}

const testBatch = 4

// newJob is a job that trains networks together. With imitate, they are the
// modules of d that imitate the meta model.
func newJob(d models.Division, imitate bool, modules ...int) *backend.Job {
	j := &backend.Job{
		Recipe:  presets.Stage{Batch: testBatch, DropPath: 0.2, Optimizer: optim.NameAdamW, Betas: []float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05},
		Weights: backend.Weights{}, Seed: 3, Purpose: "test",
	}
	networks := []models.Network{d.TargetNet()}
	if len(modules) > 0 {
		networks = nil
		for _, m := range modules {
			networks = append(networks, d.Hybrid(m))
		}
	}
	for i, n := range append(networks, d.MetaNet()) {
		for _, p := range n.Params() {
			if j.Weights[p.Leaf()] == nil {
				j.Weights[p.Leaf()] = models.Initialize(p.Param, j.Seed, p.Owner)
			}
		}
		if i < len(networks) {
			j.Learners = append(j.Learners, backend.Learner{Stage: fmt.Sprintf("stage-%d", i+1), Network: n})
		}
	}
	// Values that training starts with would hide mistakes: biases of 0.
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range append(networks, d.MetaNet()) {
		for _, p := range n.Params() {
			if len(p.Shape) == 1 {
				for i := range j.Weights[p.Leaf()] {
					j.Weights[p.Leaf()][i] += 0.1 * r.Float32()
				}
			}
		}
	}
	j.Build = func(learners []int, o models.BuildOptions) (*models.Graph, error) {
		o.DropPath = j.Recipe.DropPath
		if imitate {
			var part []int
			for _, l := range learners {
				part = append(part, modules[l])
			}
			return models.BuildImitation(d, part, o)
		}
		var part []models.Network
		for _, l := range learners {
			part = append(part, networks[l])
		}
		return models.BuildTraining(part, o)
	}
	return j
}

// clone gives a job weights of its own.
func clone(j *backend.Job) *backend.Job {
	c := *j
	c.Weights = backend.Weights{}
	for name, w := range j.Weights {
		c.Weights[name] = append([]float32{}, w...)
	}
	return &c
}

// newBatch is a batch of noise, with soft targets, and the same as pixels.
func newBatch(v models.ViT, step int) *datasets.Batch {
	r := rand.New(rand.NewPCG(7, uint64(step)))
	b := &datasets.Batch{Size: testBatch, Step: step}
	for range testBatch * v.Channels * v.Image * v.Image {
		b.Images = append(b.Images, float32(r.NormFloat64()))
	}
	for range testBatch {
		label := r.IntN(v.Classes)
		for c := range v.Classes {
			target := float32(0.1) / float32(v.Classes)
			if c == label {
				target += 0.9
			}
			b.Targets = append(b.Targets, target)
		}
		b.Labels = append(b.Labels, int32(label))
	}
	return b
}

// relative is the norm of the difference over the norm of want.
func relative(want, got []float32) float64 {
	var diff, norm float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
		norm += float64(w) * float64(w)
	}
	if norm == 0 {
		return math.Sqrt(diff)
	}
	return math.Sqrt(diff / norm)
}

// reference computes losses and gradients on the processor, in passes of the
// whole batch.
func reference(t *testing.T, j *backend.Job, b *datasets.Batch) (losses []float32, grads map[string][]float32) {
	t.Helper()
	all := make([]int, len(j.Learners))
	for i := range all {
		all[i] = i
	}
	g, err := j.Build(all, models.BuildOptions{Batch: j.Recipe.Batch})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := g.Gradients(g.Loss)
	if err != nil {
		t.Fatal(err)
	}
	wanted := append([]*graph.Node{}, nodes...)
	for _, o := range g.Outputs {
		wanted = append(wanted, o.Loss)
	}
	plan, err := g.Plan(wanted...)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(1)
	defer pool.Close()
	e, err := cpu.Compile[float32](plan, pool, j.Weights)
	if err != nil {
		t.Fatal(err)
	}
	copy(e.Data(g.Images), b.Images)
	copy(e.Data(g.Targets), b.Targets)
	for _, d := range g.DropPaths {
		if scale := e.Data(d.Node); scale != nil {
			draw := backend.NewDropPath(d, j)
			var f feeder
			draw.Draw(scale, &f.draws, b.Epoch, b.Step*j.Recipe.Batch)
		}
	}
	e.Run()
	for _, o := range g.Outputs {
		losses = append(losses, e.Data(o.Loss)[0])
	}
	grads = map[string][]float32{}
	for i, p := range g.Params() {
		grads[p.Name()] = e.Data(nodes[i])
	}
	return losses, grads
}

// gradients makes a step on a device and returns its losses and gradients.
func gradients(t *testing.T, g *gpu, j *backend.Job, b *datasets.Batch) (losses []float64, grads map[string][]float32) {
	t.Helper()
	all := make([]int, len(j.Learners))
	for i := range all {
		all[i] = i
	}
	tr, err := g.newTrainer(j, all)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := tr.Step(b, 1e-3); err != nil {
		t.Fatal(err)
	}
	losses = make([]float64, len(all))
	if err := tr.Losses(losses); err != nil {
		t.Fatal(err)
	}
	grads = map[string][]float32{}
	err = g.Do(func(*driver.Context) error {
		for _, l := range tr.learners {
			for _, p := range l.params {
				at, _ := tr.prepared.params.Place(p.Leaf())
				grads[p.Leaf()] = make([]float32, p.Size())
				if err := driver.Download(g.queue, grads[p.Leaf()], tr.store.regions[lower.Grads]+driver.Ptr(4*at)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return losses, grads
}

// TestGradients compares whole networks with the processor: losses, and the
// gradient of every parameter.
func TestGradients(t *testing.T) {
	d := small(4, 2)
	for _, c := range []struct {
		name  string
		job   *backend.Job
		dtype kernels.DType
		micro int
		batch int
	}{
		{"together", newJob(d, false, 1, 2), kernels.F32, 0, 0},
		{"passes", newJob(d, false), kernels.F32, 1, 0},
		{"imitation", newJob(d, true, 1, 2), kernels.F32, 2, 0},
		{"alone", newJob(d, false), kernels.BF16, 0, 0},
		{"together in passes", newJob(d, false, 1, 2), kernels.BF16, 2, 0},
		// The gradient of L1 is a sign, which rounding turns where two features
		// are close. In this batch no two are; one sign in 480 would make a
		// difference of 0.09.
		{"imitation", newJob(d, true, 1, 2), kernels.BF16, 0, 2},
	} {
		t.Run(c.name+" "+c.dtype.String(), func(t *testing.T) {
			g := testGPU(t, c.dtype)
			b := newBatch(d.Target, c.batch)
			loss, together, each := 5e-7, 1e-6, 2e-6
			if c.dtype == kernels.BF16 {
				loss, together, each = 3e-3, 1e-2, 3e-2 // bfloat16 leaves less of a small sum of large terms
			}
			wantLoss, want := reference(t, clone(c.job), b)
			j := clone(c.job)
			j.Recipe.MicroBatch = c.micro
			gotLoss, got := gradients(t, g, j, b)
			for i, w := range wantLoss {
				if diff := math.Abs(gotLoss[i]/float64(w) - 1); !(diff <= loss) {
					t.Errorf("loss %d is %v, want %v", i, gotLoss[i], w)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%d gradients, want %d", len(got), len(want))
			}
			worst, where := 0.0, ""
			var allWant, allGot []float32
			for name, w := range want {
				if diff := relative(w, got[name]); !(diff <= worst) {
					worst, where = diff, name
				}
				allWant, allGot = append(allWant, w...), append(allGot, got[name]...)
			}
			all := relative(allWant, allGot)
			t.Logf("losses %v for %v; gradients together differ by %.1e, at most %.1e for %s", gotLoss, wantLoss, all, worst, where)
			if !(all <= together) {
				t.Errorf("the gradients differ by %.2g", all)
			}
			if !(worst <= each) {
				t.Errorf("the gradient of %s differs by %.2g", where, worst)
			}
		})
	}
}
