//go:build gpu

package cuda

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/graph"
	"hatchery/engine/optim"
	"hatchery/models"
	"hatchery/presets"
)

// cards are the first device with what tests in each type share.
var cards = map[kernels.DType]*emulation.Shared[*gpu]{kernels.F32: share(kernels.F32), kernels.BF16: share(kernels.BF16)}

func share(dtype kernels.DType) *emulation.Shared[*gpu] {
	return emulation.Share(func() (*gpu, *driver.Device, error) {
		g, err := openGPU(0, dtype)
		if err != nil {
			return nil, nil, err
		}
		return g, g.Device, nil
	}, (*gpu).close)
}

func TestMain(m *testing.M) { os.Exit(emulation.Main(m)) }

// testGPU returns the first device for a test.
func testGPU(t *testing.T, dtype kernels.DType) *gpu {
	t.Helper()
	emulation.Start(t, "kernels/all.cu")
	return cards[dtype].Get(t)
}

// small returns a network whose sizes are as awkward as the paper's: heads of 12
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

// newJob returns a job that trains networks together. With imitate, they are the
// modules of d that imitate the meta model.
func newJob(d models.Division, imitate bool, modules ...int) *backend.Job {
	j := &backend.Job{
		Recipe:  presets.Recipe{Batch: testBatch, DropPath: 0.2, Optimizer: optim.NameAdamW, Betas: []float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05},
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
	j.Build = func(ctx context.Context, learners []int, o models.BuildOptions) (*models.Graph, error) {
		o.DropPath = j.Recipe.DropPath
		if imitate {
			var part []int
			for _, l := range learners {
				part = append(part, modules[l])
			}
			return models.BuildImitation(ctx, d, part, o)
		}
		var part []models.Network
		for _, l := range learners {
			part = append(part, networks[l])
		}
		return models.BuildTraining(ctx, part, o)
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

// newBatch returns a batch of noise, with soft targets, and the same as pixels.
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

// reference computes losses and gradients on the processor, in passes of the
// whole batch.
func reference(t *testing.T, j *backend.Job, b *datasets.Batch) (losses []float32, grads map[string][]float32) {
	t.Helper()
	all := make([]int, len(j.Learners))
	for i := range all {
		all[i] = i
	}
	g, err := j.Build(t.Context(), all, models.BuildOptions{Batch: j.Recipe.Batch})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := g.Gradients(t.Context(), g.Loss)
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
				at, _ := tr.prepared.params.Offset(p.Leaf())
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

// path returns the error of a value behind so many roundings of arrays, which err
// independently. In float32 each stands for a sum of as many numbers as a network
// is wide, whose additions lose what a quarter as many roundings would; and the
// processor, with which tests compare, loses as much.
func path(t kernels.DType, roundings, width int) float64 {
	if t == kernels.F32 {
		return rounding.Path(t, float64(roundings)*float64(width)/4*2)
	}
	return rounding.Path(t, float64(roundings))
}

// gradientError is that of all gradients of a network. Most of what is in the
// stream from block to block stays there, rounded twice a block, and so does its
// gradient on the way back; before and behind the blocks there are five more, and
// in the branch that a parameter is in up to six on each way. That of a single
// parameter is twice as much: it is a sum over tokens, which cancel in part.
func gradientError(t kernels.DType, v models.ViT) float64 {
	return path(t, 4*v.Depth+5+2*6, v.Width)
}

// lossError is that of a mean loss of so many images: of the logits, and of its
// own arithmetic. Its slope, softmax - target, has a norm of at most 1, the logits
// are less than half of the loss, and those of each image err independently.
func lossError(t kernels.DType, v models.ViT, images int) float64 {
	return path(t, 2*v.Depth+5+6, v.Width)/2/math.Sqrt(float64(images)) + rounding.Units(8)
}

// drift is how far weights come to be from the right ones in n steps of Adam,
// relative in norm. A step is lr for each weight, whatever the size of its
// gradient, so the error of a step is that of the gradient of a weight relative to
// itself, e/r where r is the gradient's size beside the typical one. Its mean
// square is e² log N over N weights, about 10 e²: as 1/r² in two or more
// dimensions, because Adam looks at the steps before as well. The first step has
// none, and is a sign; it turns where r < e, for a share 2e/π of the weights, if
// that comes to any. Ten steps remember an error.
func drift(t kernels.DType, n int, lr float64, v models.ViT, weights map[string][]float32) float64 {
	var all int
	var squares float64
	for _, w := range weights {
		all += len(w)
		squares += rounding.Norm(w) * rounding.Norm(w)
	}
	e := 2 * gradientError(t, v)
	steps := 10 * e * e * float64(n*min(n, 10))
	if turned := 2 * e / math.Pi * float64(all); turned > 1 {
		steps += 4 * turned / float64(all)
	}
	return lr * math.Sqrt(steps*float64(all)/squares)
}

// parameters are those among a checkpoint's tensors, or their averages, without
// the biases of keys. The gradient of those is 0 but for rounding (all scores of a
// query move together), and Adam makes steps of whatever it is.
func parameters(tensors map[string][]float32, averages bool) map[string][]float32 {
	only := map[string][]float32{}
	for name, w := range tensors {
		_, average := optim.EMAOf(strings.TrimPrefix(name, "0/"))
		if average != averages || !average && optim.IsState(strings.TrimPrefix(name, "0/")) {
			continue
		}
		if strings.HasSuffix(name, "qkv.bias") {
			w = append(slices.Clone(w[:len(w)/3]), w[2*len(w)/3:]...)
		}
		only[name] = w
	}
	return only
}

// apart returns the distance of tensors from those of the same names, all together.
func apart(got, want map[string][]float32) float64 {
	var g, w []float32
	for name := range want {
		g, w = append(g, got[name]...), append(w, want[name]...)
	}
	return rounding.Distance(g, w)
}

// separated returns a job of imitation whose features are all far from those they
// imitate, above and below in turn. The gradient of their distance is a sign,
// which no rounding then turns: in bfloat16 it would for a feature in a hundred,
// and make a difference of 0.1 each.
func separated(j *backend.Job) *backend.Job {
	for _, last := range []string{"target/blocks.1.mlp.fc2.bias", "target/head.bias"} {
		if j.Weights[last] == nil {
			panic("no " + last)
		}
		for i := range j.Weights[last] {
			j.Weights[last][i] += float32(8 - 16*(i%2))
		}
	}
	return j
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
	}{
		{"together", newJob(d, false, 1, 2), kernels.F32, 0},
		{"passes", newJob(d, false), kernels.F32, 1},
		{"imitation", newJob(d, true, 1, 2), kernels.F32, 2},
		{"alone", newJob(d, false), kernels.BF16, 0},
		{"together in passes", newJob(d, false, 1, 2), kernels.BF16, 2},
		{"imitation", separated(newJob(d, true, 1, 2)), kernels.BF16, 0},
	} {
		t.Run(c.name+" "+c.dtype.String(), func(t *testing.T) {
			g := testGPU(t, c.dtype)
			b := newBatch(d.Target, 0)
			loss, together := lossError(c.dtype, d.Target, testBatch), gradientError(c.dtype, d.Target)
			each := 2 * together
			wantLoss, want := reference(t, clone(c.job), b)
			j := clone(c.job)
			j.Recipe.MicroBatch = c.micro
			gotLoss, got := gradients(t, g, j, b)
			for i, w := range wantLoss {
				diff := math.Abs(gotLoss[i]/float64(w) - 1)
				t.Logf("loss %d is %v, want %v: %.1e, at most %.1e", i, gotLoss[i], w, diff, loss)
				if !(diff <= loss) {
					t.Errorf("loss %d is %v, want %v", i, gotLoss[i], w)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%d gradients, want %d", len(got), len(want))
			}
			worst, where := 0.0, ""
			for name, w := range want {
				if diff := rounding.Distance(got[name], w); !(diff <= worst) {
					worst, where = diff, name
				}
			}
			all := apart(got, want)
			t.Logf("gradients together differ by %.1e, at most %.1e; most for %s: %.1e, at most %.1e", all, together, where, worst, each)
			if !(all <= together) {
				t.Errorf("the gradients differ by %.2g", all)
			}
			if !(worst <= each) {
				t.Errorf("the gradient of %s differs by %.2g", where, worst)
			}
		})
	}
}
