//go:build gpu

package cuda

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

const testRate = 3e-3 // of steps

// steps makes n steps, the first with number first, and returns the losses of each.
func steps(t *testing.T, tr backend.Trainer, v models.ViT, learners, first, n int) [][]float64 {
	t.Helper()
	var all [][]float64
	for i := range n {
		if err := tr.Step(newBatch(v, first+i), testRate); err != nil {
			t.Fatal(err)
		}
		losses := make([]float64, learners)
		if err := tr.Losses(losses); err != nil {
			t.Fatal(err)
		}
		all = append(all, losses)
	}
	return all
}

// tensors copies the tensors of all learners.
func tensors(t *testing.T, tr backend.Trainer, learners int) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for i := range learners {
		list, err := tr.Tensors(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			all[fmt.Sprintf("%d/%s", i, x.Name)] = append([]float32{}, x.Data...)
		}
	}
	return all
}

// sameBits fails unless two checkpoints are equal.
func sameBits(t *testing.T, what string, want, got map[string][]float32) {
	t.Helper()
	if len(want) != len(got) || len(want) == 0 {
		t.Fatalf("%s: %d tensors, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		for i, x := range got[name] {
			if math.Float32bits(x) != math.Float32bits(w[i]) {
				t.Fatalf("%s: %s[%d] is %v, want %v", what, name, i, x, w[i])
			}
		}
	}
}

// newTestTrainer makes a trainer for all learners of a job. It does not change the job's
// weights.
func newTestTrainer(t *testing.T, g *gpu, j *backend.Job) *trainer {
	t.Helper()
	tr, err := gpus{g}.NewTrainer(clone(j))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr.(*trainer)
}

// trainQuickstart trains the quickstart's network end to end for an epoch, on its images
// and with all augmentations that run on a device.
func trainQuickstart(t *testing.T, c *presets.Config, b backend.Backend) (losses []float64, weights map[string][]float32) {
	t.Helper()
	set, _, err := datasets.Open(t.Context(), datasets.Source{Name: c.Data.Name, Train: c.Data.Train, Eval: 10})
	if err != nil {
		t.Fatal(err)
	}
	a := c.Augment
	j := newJob(quickstart(t, c), false)
	j.Recipe = c.E2E
	j.Pixels = &backend.Pixels{Mean: set.Mean, Std: set.Std, Smoothing: a.Smoothing, Erase: true, MixBatch: c.E2E.MixBatch}
	tr, err := b.NewTrainer(j)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	loader, err := datasets.NewTrainLoader(set, datasets.Options{Batch: c.E2E.Batch, Raw: b.Info().Raw}, datasets.Training{
		Seed: 5, Purpose: "test", Augment: datasets.Augment{CropPadding: a.CropPadding, Flip: a.Flip, Mixup: a.Mixup, CutMix: a.CutMix,
			MixBatch: c.E2E.MixBatch, MixProb: a.MixProb, SwitchProb: a.SwitchProb, Smoothing: a.Smoothing, Reprob: a.Reprob},
	})
	if err != nil {
		t.Fatal(err)
	}
	for batch, err := range loader.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Step(batch, 1e-3); err != nil {
			t.Fatal(err)
		}
		loss := make([]float64, 1)
		if err := tr.Losses(loss); err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss[0])
	}
	return losses, tensors(t, tr, 1)
}

// quickstart returns the division of a configuration's network.
func quickstart(t *testing.T, c *presets.Config) models.Division {
	t.Helper()
	d, err := models.NewDivision(c.Model, c.Modules.K, nil, c.Modules.MetaDepth)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestQuickstart compares the losses and weights of twenty steps of the quickstart's
// end-to-end training, with all augmentations that run on a device, with those on the CPU.
// The device gets raw batches, of 2 images to save time.
func TestQuickstart(t *testing.T) {
	c, err := presets.Load("quickstart", []string{"e2e.batch=2", "data.train=40", "augment.mixup=0.8", "augment.cutmix=1.0", "augment.reprob=0.5", "e2e.drop_path=0.1"})
	if err != nil {
		t.Fatal(err)
	}
	h := host.Open(1)
	defer h.Close()
	losses, weights := trainQuickstart(t, c, h)
	if len(losses) != 20 {
		t.Fatalf("%d steps, want 20", len(losses))
	}
	d, only := quickstart(t, c), parameters(weights, false)
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		got, trained := trainQuickstart(t, c, gpus{testGPU(t, dtype)})
		far := drift(dtype, len(losses), 1e-3, d.Target, only)
		worst := furthest(got, losses)
		diff := apart(parameters(trained, false), only)
		t.Logf("%v: losses differ by %.1e, at most %.1e, weights by %.1e, at most %.1e; the loss goes from %.4f to %.4f", dtype,
			worst, lossError(dtype, d.Target, c.E2E.Batch), diff, far, losses[0], losses[len(losses)-1])
		if !(worst <= lossError(dtype, d.Target, c.E2E.Batch)) || !(diff <= far) {
			t.Errorf("%v: losses differ by %.2g, weights by %.2g", dtype, worst, diff)
		}
	}
}

// furthest returns the greatest difference of two lists, relative to the second.
func furthest(got, want []float64) (worst float64) {
	for i := range want {
		worst = max(worst, math.Abs(got[i]/want[i]-1))
	}
	return worst
}

// TestMixBatch checks that the groups in which images are mixed do not depend on the
// passes of a batch: a group may be smaller than a pass, equal or larger, and the last
// group of a batch may be smaller. It compares the losses of three steps, each of which
// depends on the gradients before it, with those on the CPU, which mixes before it divides
// the batch.
func TestMixBatch(t *testing.T) {
	h := host.Open(1)
	defer h.Close()
	firsts := map[int]float64{} // first losses by the size of the groups
	for _, g := range []struct{ micro, mix int }{{3, 2}, {3, 3}, {2, 4}, {6, 4}, {2, 5}, {1, 0}} {
		c, err := presets.Load("quickstart", []string{"e2e.batch=6", "data.train=20", "augment.mixup=0.8", "augment.cutmix=1.0", "augment.reprob=0.5",
			"e2e.drop_path=0.1", "model.depth=4", "model.width=32", "model.heads=2"})
		if err != nil {
			t.Fatal(err)
		}
		c.E2E.MicroBatch, c.E2E.MixBatch = g.micro, g.mix
		want, _ := trainQuickstart(t, c, h)
		got, _ := trainQuickstart(t, c, gpus{testGPU(t, kernels.F32)})
		limit := lossError(kernels.F32, c.Model, c.E2E.Batch)
		if worst := furthest(got, want); len(got) != 3 || !(worst <= limit) {
			t.Errorf("passes of %d, groups of %d: losses differ by %.2g, at most %.2g: %v, want %v", g.micro, g.mix, worst, limit, got, want)
		}
		for mix, first := range firsts { // else the test could not tell groups apart
			if far := math.Abs(first/want[0] - 1); (far <= 10*limit) != (mix == g.mix) {
				t.Errorf("groups of %d and %d: the first losses differ by %.2g", mix, g.mix, far)
			}
		}
		firsts[g.mix] = want[0]
	}
}

// TestResume checks that a trainer that restores the tensors of another continues with the
// same bits.
func TestResume(t *testing.T) {
	d := small(2, 2)
	j := newJob(d, false, 1, 2)
	g := testGPU(t, kernels.BF16)
	straight := newTestTrainer(t, g, j)
	steps(t, straight, d.Target, 2, 0, 3)
	want := tensors(t, straight, 2)

	half := newTestTrainer(t, g, j)
	steps(t, half, d.Target, 2, 0, 1)
	resumed := newTestTrainer(t, g, j)
	for i := range 2 {
		list, err := half.Tensors(i)
		if err != nil {
			t.Fatal(err)
		}
		c := runs.Checkpoint{Tensors: list}
		if err := resumed.Restore(i, c.Tensor); err != nil {
			t.Fatal(err)
		}
	}
	steps(t, resumed, d.Target, 2, 1, 2)
	sameBits(t, "resumed", want, tensors(t, resumed, 2))

	// Nothing of a checkpoint of another network is taken over.
	if err := resumed.Restore(0, (&runs.Checkpoint{}).Tensor); err == nil || !strings.Contains(err.Error(), "lacks parameter") {
		t.Errorf("got %v", err)
	}
	sameBits(t, "after a wrong checkpoint", want, tensors(t, resumed, 2))
}

// TestReplay checks that the captured graph gives the same results as separate launches,
// and that it does not matter when Losses is called.
func TestReplay(t *testing.T) {
	d := small(2, 2)
	j := newJob(d, false, 1, 2)
	j.Recipe.MicroBatch = testBatch / 2
	g := testGPU(t, kernels.BF16)
	replayed, direct := newTestTrainer(t, g, j), newTestTrainer(t, g, j)
	if replayed.executor.graph == nil {
		t.Fatal("the step was not captured")
	}
	if n := replayed.executor.program.Streams; n != 2 {
		t.Fatalf("%d streams for two modules", n)
	}
	direct.executor.graph.Destroy()
	direct.executor.graph = nil
	const n = ahead + 2
	one := steps(t, direct, d.Target, 2, 0, n)
	for i := range n {
		if err := replayed.Step(newBatch(d.Target, i), 3e-3); err != nil {
			t.Fatal(err)
		}
	}
	sums, want := make([]float64, 2), make([]float64, 2)
	if err := replayed.Losses(sums); err != nil {
		t.Fatal(err)
	}
	for _, l := range one {
		want[0], want[1] = want[0]+l[0], want[1]+l[1]
	}
	if sums[0] != want[0] || sums[1] != want[1] {
		t.Errorf("losses add up to %v, want %v", sums, want)
	}
	sameBits(t, "replayed", tensors(t, direct, 2), tensors(t, replayed, 2))
}

// TestTogether checks that modules trained together, on one device or on two, get the same
// weights as alone.
func TestTogether(t *testing.T) {
	g := testGPU(t, kernels.BF16)
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	spread := [][]int{{0}}
	if n, err := Count(); n > 1 {
		spread = append(spread, []int{0, 1})
	} else {
		t.Logf("not spread over two devices: there is %d (%v)", n, err) // a real card
	}
	d := small(2, 2)
	both := newJob(d, false, 1, 2)
	const n = 3
	alone := map[string][]float32{}
	for m := range 2 {
		b := gpus{g}
		j := newJob(d, false, 1+m)
		j.Weights = clone(both).Weights
		tr, err := b.NewTrainer(j)
		if err != nil {
			t.Fatal(err)
		}
		steps(t, tr, d.Target, 1, 0, n)
		for name, w := range tensors(t, tr, 1) {
			alone[fmt.Sprint(m)+name[1:]] = w
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, devices := range spread {
		var b backend.Backend = gpus{g}
		if len(devices) > 1 {
			two, err := Open(devices)
			if err != nil {
				t.Fatal(err)
			}
			defer two.Close()
			b = two
		}
		tr, err := b.NewTrainer(clone(both))
		if err != nil {
			t.Fatal(err)
		}
		steps(t, tr, d.Target, 2, 0, n)
		sameBits(t, fmt.Sprintf("on %d devices", len(devices)), alone, tensors(t, tr, 2))
		e, err := tr.NewEvaluator([]models.Network{d.Hybrid(1), d.Hybrid(2)}, testBatch)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Grade(newBatch(d.Target, 0)); err != nil {
			t.Fatal(err)
		}
		if sums, err := e.Sums(); err != nil || len(sums) != 2 || sums[0] == sums[1] {
			t.Errorf("sums %v, %v", sums, err)
		}
		if err := errors.Join(e.Close(), tr.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestWithoutEpilogues checks that kernels replace the epilogues if cuBLAS has none.
func TestWithoutEpilogues(t *testing.T) {
	d := small(2, 1)
	j := newJob(d, false)
	b := newBatch(d.Target, 0)
	g := testGPU(t, kernels.BF16)
	if emulation.OnCard() {
		t.Skip("a real cuBLAS has its epilogues")
	}
	_, want := reference(t, clone(j), b)
	count := func() (sums, others int) {
		for _, c := range newTestTrainer(t, g, j).executor.program.Commands {
			switch {
			case c.Product == nil || c.Product.Epilogue == blas.None:
			case c.Product.Epilogue == blas.SumA || c.Product.Epilogue == blas.SumB:
				sums++
			default:
				others++
			}
		}
		return sums, others
	}
	for _, c := range []struct {
		epilogues    string
		sums, others bool
	}{{"", true, true}, {"none", false, false}} {
		t.Setenv("HATCHERY_EMULATION_EPILOGUES", c.epilogues)
		if sums, others := count(); sums > 0 != c.sums || others > 0 != c.others {
			t.Errorf("%q: %d products sum, %d have other epilogues", c.epilogues, sums, others)
		}
		_, got := gradients(t, g, clone(j), b)
		diff := apart(got, want)
		t.Logf("%q: the gradients differ by %.1e, at most %.1e", c.epilogues, diff, gradientError(kernels.BF16, d.Target))
		if !(diff <= gradientError(kernels.BF16, d.Target)) {
			t.Errorf("%q: the gradients differ by %.2g", c.epilogues, diff)
		}
	}
}

// TestDiverged checks that the error of a loss that is not finite names its step, although
// later steps are queued, and that the weights do not change.
func TestDiverged(t *testing.T) {
	d := small(2, 1)
	tr := newTestTrainer(t, testGPU(t, kernels.BF16), newJob(d, false))
	steps(t, tr, d.Target, 1, 0, 1)
	want := tensors(t, tr, 1)
	var err error
	for i := 1; i < 3*ahead && err == nil; i++ {
		b := newBatch(d.Target, i)
		if i == 2 {
			b.Images[0] = float32(math.NaN())
			want = tensors(t, tr, 1)
		}
		err = tr.Step(b, 1e-3*float64(i))
	}
	var diverged *backend.Diverged
	if !errors.As(err, &diverged) {
		t.Fatalf("got %v", err)
	}
	if diverged.Stage != "stage-1" || diverged.Step != 2 || diverged.What != "loss" || !math.IsNaN(diverged.Value) || diverged.LR != 2e-3 {
		t.Errorf("got %+v", diverged)
	}
	if err := tr.Losses(make([]float64, 1)); !errors.As(err, &diverged) {
		t.Errorf("asked again: %v", err)
	}
	tr.failed, tr.results.read = nil, tr.results.head // to look at what is there
	sameBits(t, "after it diverged", want, tensors(t, tr, 1))
}

// TestEvaluator compares the sums of images that do not fill their batch with those on the
// CPU, for a trainer's evaluator and for a separate one.
func TestEvaluator(t *testing.T) {
	d := small(2, 2)
	j := newJob(d, false, 1, 2)
	networks := []models.Network{d.Hybrid(1), d.Hybrid(2)}
	h := host.Open(1)
	defer h.Close()
	he, err := h.NewEvaluator(networks, testBatch, j.Weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	hard := func(step, size int) *datasets.Batch { // one-hot targets
		b := newBatch(d.Target, step)
		clear(b.Targets)
		for i := range size {
			b.Targets[i*d.Target.Classes+int(b.Labels[i])] = 1
		}
		for i := size; i < testBatch; i++ {
			b.Labels[i] = -1
		}
		b.Size = size
		return b
	}
	sum := func(e backend.Evaluator) []backend.Sum {
		for i, size := range []int{testBatch, testBatch, testBatch, 3} {
			if err := e.Grade(hard(i, size)); err != nil {
				t.Fatal(err)
			}
		}
		sums, err := e.Sums()
		if err != nil {
			t.Fatal(err)
		}
		return sums
	}
	want := sum(he)
	g := testGPU(t, kernels.F32)
	own, err := gpus{g}.NewEvaluator(networks, testBatch, j.Weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	trainers, err := newTestTrainer(t, g, j).NewEvaluator(networks, testBatch)
	if err != nil {
		t.Fatal(err)
	}
	defer trainers.Close()
	for _, e := range []backend.Evaluator{own, trainers, trainers} {
		for i, s := range sum(e) {
			if s.Correct != want[i].Correct || !(math.Abs(s.Loss/want[i].Loss-1) <= lossError(kernels.F32, d.Target, 3*testBatch+3)) {
				t.Errorf("network %d came to %v, want %v", i, s, want[i])
			}
		}
	}
}

// TestAhead checks that a step is queued before the previous one is done, as long as
// Losses is not called.
func TestAhead(t *testing.T) {
	d := small(2, 1)
	g := testGPU(t, kernels.BF16)
	if emulation.OnCard() {
		t.Skip("a card is done with steps as small before they can be looked at")
	}
	tr := newTestTrainer(t, g, newJob(d, false))
	b := newBatch(d.Target, 0)
	for i := range 3 * ahead {
		if err := tr.Step(b, 1e-3); err != nil {
			t.Fatal(err)
		}
		err := g.Do(func(*driver.Context) error {
			done, err := tr.results.slots[(i+ahead-1)%ahead].copied.Done()
			if i > 0 && done {
				t.Errorf("step %d is queued when the one before it is done", i)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestStepsDoNotAllocate checks that steps do not allocate Go memory.
func TestStepsDoNotAllocate(t *testing.T) {
	d := small(2, 1)
	tr := newTestTrainer(t, testGPU(t, kernels.BF16), newJob(d, false))
	b := newBatch(d.Target, 0)
	steps(t, tr, d.Target, 1, 0, 3)
	if n := testing.AllocsPerRun(5, func() {
		if err := tr.Step(b, 1e-3); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a step makes %v allocations", n)
	}
}
