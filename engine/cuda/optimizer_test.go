//go:build gpu

package cuda

import (
	"math"
	"testing"

	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/models"
)

// TestOptimizers compares LAMB and the moving average with those on the CPU, and checks
// that moving averages are evaluated and resumed.
func TestOptimizers(t *testing.T) {
	d := small(2, 1)
	networks := []models.Network{d.TargetNet(), d.TargetNet().EMA()}
	h := host.Open(1)
	defer h.Close()
	train := func(t *testing.T, tr backend.Trainer, from, n int) (map[string][]float32, []backend.Sum) {
		t.Helper()
		e, err := tr.NewEvaluator(networks, testBatch)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		steps(t, tr, d.Target, 1, from, n)
		b := newBatch(d.Target, 0)
		clear(b.Targets)
		for i, label := range b.Labels {
			b.Targets[i*d.Target.Classes+int(label)] = 1
		}
		if err := e.Grade(b); err != nil {
			t.Fatal(err)
		}
		sums, err := e.Sums()
		if err != nil {
			t.Fatal(err)
		}
		return tensors(t, tr, 1), sums
	}
	for _, c := range []struct {
		optimizer string
		dtype     kernels.DType
	}{
		{optim.NameLAMB, kernels.F32},
		{optim.NameAdamW, kernels.F32},
		{optim.NameLAMB, kernels.BF16},
		{optim.NameAdamW, kernels.BF16},
	} {
		t.Run(c.optimizer+" "+c.dtype.String(), func(t *testing.T) {
			j := newJob(d, false)
			j.Recipe.Optimizer, j.Recipe.ClipGrad, j.Recipe.EMA = c.optimizer, 1, 0.5
			ht, err := h.NewTrainer(clone(j))
			if err != nil {
				t.Fatal(err)
			}
			defer ht.Close()
			want, grades := train(t, ht, 0, 3)
			g := testGPU(t, c.dtype)
			got, sums := train(t, newTestTrainer(t, g, j), 0, 3)
			if len(got) != len(want) {
				t.Fatalf("%d tensors, want %d", len(got), len(want))
			}
			weights, averages := parameters(want, false), parameters(want, true)
			// LAMB is gentler with all but what has no decay.
			limit := drift(c.dtype, 3, testRate, d.Target, weights)
			diff, average := apart(parameters(got, false), weights), apart(parameters(got, true), averages)
			t.Logf("weights differ by %.1e, averages by %.1e, at most %.1e", diff, average, limit)
			if !(diff <= limit) || !(average <= limit) {
				t.Errorf("weights differ by %.2g, averages by %.2g", diff, average)
			}
			if sums[0] == sums[1] {
				t.Error("weights and averages are graded alike")
			}
			for i := range sums {
				diff := math.Abs(sums[i].Loss/grades[i].Loss - 1)
				t.Logf("network %d: losses differ by %.1e, at most %.1e", i, diff, lossError(c.dtype, d.Target, testBatch))
				if !(diff <= lossError(c.dtype, d.Target, testBatch)) {
					t.Errorf("network %d came to %v, want %v", i, sums[i], grades[i])
				}
			}

			half := newTestTrainer(t, g, j)
			steps(t, half, d.Target, 1, 0, 1)
			list, err := half.Tensors(0)
			if err != nil {
				t.Fatal(err)
			}
			resumed := newTestTrainer(t, g, j)
			if err := resumed.Restore(0, (&runs.Checkpoint{Tensors: list}).Tensor); err != nil {
				t.Fatal(err)
			}
			again, _ := train(t, resumed, 1, 2)
			sameBits(t, "resumed", got, again)
		})
	}
}
