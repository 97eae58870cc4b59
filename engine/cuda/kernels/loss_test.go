//go:build gpu

package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/nn"
)

// targets are those of datasets, written out: smoothed one-hot rows of the
// labels, mixed with those of the group in reverse order, the groups with one
// lambda after another.
func targets(labels []int32, classes, group int, lambdas []float64, smoothing float64) []float64 {
	rows := make([]float64, len(labels)*classes)
	for i, other := range partners(len(labels), group) {
		partner, lambda := labels[other], lambdas[i/group%len(lambdas)]
		for j := range classes {
			smooth := func(label int32) float64 {
				if int(label) == j {
					return 1 - smoothing + smoothing/float64(classes)
				}
				return smoothing / float64(classes)
			}
			rows[i*classes+j] = lambda*smooth(labels[i]) + (1-lambda)*smooth(partner)
		}
	}
	return rows
}

func scaled(v []float64, by float64) []float64 {
	s := make([]float64, len(v))
	for i := range v {
		s[i] = v[i] * by
	}
	return s
}

// logSumExp returns the absolute error of top + log Σ exp(x - top) over n numbers: of
// the sum, of exp and its argument, of log, and of a sum with a top of that size.
func logSumExp(n int, top float64) float64 {
	return rounding.Sum(n) + rounding.Exp + rounding.Units(2) + rounding.Log + rounding.Units(top)
}

// highest returns the greatest magnitude.
func highest(v []float64) (top float64) {
	for _, x := range v {
		top = max(top, math.Abs(x))
	}
	return top
}

// entropy returns the error of a mean loss Σ p (l - x) over a batch, where l is a
// logSumExp. magnitude is the mean of Σ |p| |l - x|, the loss itself if all p are
// positive; mass that of Σ |p|. p takes three roundings, l - x and the product two.
func entropy(batch, classes int, top, loss, magnitude, mass float64) float64 {
	return (mass*logSumExp(classes, top) + magnitude*(rounding.Sum(classes)+rounding.Sum(batch)+rounding.Units(6))) / math.Abs(loss)
}

// slope returns the error of Σp softmax - p, relative to itself: exp has the error of
// its argument, x - l, which is up to twice top.
func slope(classes int, top float64, dlogits, targets []float64, batch int) float64 {
	softmax := rounding.Norm(dlogits) + rounding.Norm(targets)/float64(batch) // at most
	return (logSumExp(classes, top) + rounding.Units(2*top) + rounding.Exp + rounding.Sum(classes) + rounding.Units(6)) * softmax / rounding.Norm(dlogits)
}

func TestCrossEntropy(t *testing.T) {
	const smoothing = 0.1
	lambdas := []float64{0.7, 1, 0.2}
	on(t, func(d *device) {
		for _, c := range []struct {
			nn.CrossEntropyForward
			group int
		}{{nn.CrossEntropyForward{B: 1, Classes: 2}, 1}, {nn.CrossEntropyForward{B: 6, Classes: 10}, 6}, {nn.CrossEntropyForward{B: 6, Classes: 10}, 2},
			{nn.CrossEntropyForward{B: 7, Classes: 33}, 7}, {nn.CrossEntropyForward{B: 7, Classes: 33}, 3}, {nn.CrossEntropyForward{B: 3, Classes: 1000}, 3}} {
			s := c.CrossEntropyForward
			labels := make([]int32, s.B)
			for i := range labels {
				labels[i] = int32(i * 7 % s.Classes)
			}
			n := s.B * s.Classes
			logits := scaled(noise(kernels.F32, "logits", n), 3)
			rows := targets(labels, s.Classes, c.group, lambdas, smoothing)
			var mixes []byte
			for i := 0; i < s.B; i += c.group {
				lambda := lambdas[i/c.group%len(lambdas)]
				mixes = append(mixes, littleEndian(kernels.Mix{Lambda: float32(lambda), Rest: float32(1 - lambda)}.Put, kernels.MixBytes)...)
			}
			loss := d.twin(s, []int{1}, logits, rows)[0]
			dlogits := d.twin(nn.CrossEntropyBackward(s), []int{n}, logits, rows, []float64{1})[0]
			top := highest(logits)
			lossLimit, slopeLimit := entropy(s.B, s.Classes, top, loss[0], loss[0], 1), slope(s.Classes, top, dlogits, rows, s.B)
			for _, dt := range dtypes {
				d.free()
				name := fmt.Sprintf("%+v in groups of %d", s, c.group)
				fromLabels := kernels.CrossEntropy{T: dt, Batch: s.B, B: s.B, Classes: s.Classes, Weight: 1 / float64(s.B),
					Logits: d.store(kernels.F32, logits), Labels: put(d, labels), Mix: put(d, mixes), Group: c.group, Smoothing: smoothing,
					Loss: d.out(kernels.F32, 1), DLogits: d.out(dt, n)}
				fromLabels.Scratch = d.alloc(fromLabels.ScratchBytes())
				fromRows := fromLabels
				fromRows.Labels, fromRows.Mix, fromRows.Smoothing = kernels.Buffer{}, kernels.Buffer{}, 0
				fromRows.Targets = d.store(kernels.F32, rows)
				for what, k := range map[string]kernels.CrossEntropy{" from labels": fromLabels, " from targets": fromRows} {
					d.run(k.Launches()...)
					d.near(name+what+": loss", d.load(kernels.F32, k.Loss, 1), loss, lossLimit)
					d.near(name+what+": dlogits", d.load(dt, k.DLogits, n), dlogits, stored(dt)+slopeLimit)
				}

				// Targets that do not add up to 1 have their part in the gradient.
				odd := noise(kernels.F32, "targets", n)
				fromRows.Targets = d.store(kernels.F32, odd)
				d.run(fromRows.Launches()...)
				oddLoss, oddSlope := d.twin(s, []int{1}, logits, odd)[0], d.twin(nn.CrossEntropyBackward(s), []int{n}, logits, odd, []float64{1})[0]
				absolute := make([]float64, n)
				var mass float64
				for i, p := range odd {
					absolute[i] = math.Abs(p)
					mass += math.Abs(p) / float64(s.B)
				}
				magnitude := d.twin(s, []int{1}, logits, absolute)[0][0]
				d.near(name+": loss of any targets", d.load(kernels.F32, fromRows.Loss, 1), oddLoss, entropy(s.B, s.Classes, top, oddLoss[0], magnitude, mass))
				d.near(name+": dlogits of any targets", d.load(dt, fromRows.DLogits, n), oddSlope, stored(dt)+slope(s.Classes, top, oddSlope, odd, s.B)+rounding.Sum(s.Classes)*mass/rounding.Norm(oddSlope))

				// Two micro-batches are the batch: partners lie in the other one.
				d.run(fromLabels.Launches()...)
				whole := d.load(dt, fromLabels.DLogits, n)
				half := (s.B + 1) / 2
				for first := 0; first < s.B; first += half {
					k := fromLabels
					k.First, k.B, k.Accumulate = first, min(half, s.B-first), first > 0
					k.Logits = k.Logits.At(first * s.Classes * 4)
					k.DLogits = k.DLogits.At(first * s.Classes * dt.Size())
					d.run(k.Launches()...)
				}
				d.near(name+": loss of micro-batches", d.load(kernels.F32, fromLabels.Loss, 1), loss, lossLimit)
				d.same(name+": dlogits of micro-batches", d.load(dt, fromLabels.DLogits, n), whole)
			}
		}
	})
}

func TestCrossEntropyOfHardCases(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	on(t, func(d *device) {
		logits := []float64{1e4, 0, -1e4, 0, 0, 0, 0, nan, 0, 1, 2, 3, inf, 0, 0}
		k := kernels.CrossEntropy{T: kernels.F32, Batch: 5, B: 5, Classes: 3, Weight: 1,
			Logits: d.store(kernels.F32, logits), Labels: put(d, []int32{1, 0, 2, -1, 1}), DLogits: d.out(kernels.F32, 15),
			Loss: d.out(kernels.F32, 1), Scratch: d.alloc(20)}
		d.run(k.Launches()...)
		losses := d.load(kernels.F32, k.Scratch, 5)
		if losses[0] != 1e4 || !(math.Abs(losses[1]-math.Log(3)) <= logSumExp(3, 1.1)) || losses[2] == losses[2] || losses[3] != 0 || losses[4] == losses[4] {
			t.Errorf("losses %v, want 10000, log 3, NaN, 0 and NaN", losses)
		}
		if loss := d.load(kernels.F32, k.Loss, 1)[0]; loss == loss {
			t.Errorf("the batch's loss is %v with a sample's NaN", loss)
		}
		dx := d.load(kernels.F32, k.DLogits, 15)
		d.near("gradient of far logits", dx[:3], []float64{1, -1, 0}, rounding.Exp)
		d.same("gradient of a row without label", dx[9:12], []float64{0, 0, 0})
	})
}

func TestScore(t *testing.T) {
	on(t, func(d *device) {
		for _, s := range []nn.Score{{B: 1, Classes: 2}, {B: 9, Classes: 10}, {B: 7, Classes: 37}, {B: 3, Classes: 1000}} {
			d.free()
			name := fmt.Sprintf("%+v", s)
			n := s.B * s.Classes
			logits := noise(kernels.F32, "logits", n)
			for i := range logits {
				logits[i] = math.Round(2 * logits[i]) // with ties
			}
			labels := make([]int32, s.B)
			for i := range labels {
				row := logits[i*s.Classes:][:s.Classes]
				best := 0
				for j, v := range row {
					if v > row[best] {
						best = j
					}
				}
				labels[i] = int32(best)
				if i%3 == 1 {
					labels[i] = int32((best + 1) % s.Classes)
				}
			}
			rows := targets(labels, s.Classes, s.B, []float64{1}, 0)
			want := d.twin(s, []int{s.B, s.B}, logits, rows)
			limit := logSumExp(s.Classes, highest(logits))*math.Sqrt(float64(s.B))/rounding.Norm(want[0]) + rounding.Units(2)
			x, loss, correct := d.store(kernels.F32, logits), d.out(kernels.F32, s.B), d.out(kernels.F32, s.B)
			d.run(kernels.Score(s.B, s.Classes, loss, correct, x, d.store(kernels.F32, rows), kernels.Buffer{}))
			d.near(name+": loss", d.load(kernels.F32, loss, s.B), want[0], limit)
			d.same(name+": correct", d.load(kernels.F32, correct, s.B), want[1])
			d.run(kernels.Score(s.B, s.Classes, loss, correct, x, kernels.Buffer{}, put(d, labels)))
			d.near(name+": loss by label", d.load(kernels.F32, loss, s.B), want[0], limit)
			d.same(name+": correct by label", d.load(kernels.F32, correct, s.B), want[1])
		}
		d.free()
		x := d.store(kernels.F32, []float64{1, math.NaN(), 0, 1})
		loss, correct := d.out(kernels.F32, 2), d.out(kernels.F32, 2)
		d.run(kernels.Score(2, 2, loss, correct, x, kernels.Buffer{}, put(d, []int32{0, -1})))
		if l := d.load(kernels.F32, loss, 2); l[0] == l[0] || l[1] != 0 {
			t.Errorf("losses %v, want NaN and 0", l)
		}
		d.same("correct with NaN and without a label", d.load(kernels.F32, correct, 2), []float64{0, 0})
	})
}

func TestL1(t *testing.T) {
	on(t, func(d *device) {
		for _, n := range []int{1, 7, 8, 2049, 8*4*132*256 + 13} {
			for _, dt := range dtypes {
				d.free()
				x, y := noise(dt, "x", n), noise(dt, "y", n)
				x[n/2] = y[n/2]
				k := kernels.L1{T: dt, N: n, Weight: 1 / float64(n), X: d.store(dt, x), Y: d.store(dt, y), Loss: d.out(kernels.F32, 1), DX: d.out(dt, n)}
				k.Scratch = d.alloc(k.ScratchBytes())
				d.run(k.Launches()...)
				loss := d.load(kernels.F32, k.Loss, 1)
				// A thread adds at most 16 numbers, a block in a tree what its threads
				// have, and so does the last kernel.
				d.near(fmt.Sprintf("%d: loss", n), loss, d.twin(nn.L1Forward{N: n}, []int{1}, x, y)[0], rounding.Sum(16+10+10)+rounding.Units(3))
				want := d.twin(nn.L1Backward{N: n}, []int{n}, x, y, []float64{1})[0]
				d.near(fmt.Sprintf("%d: dx", n), d.load(dt, k.DX, n), want, stored(dt))
				k.Accumulate, k.DX = true, k.X
				d.run(k.Launches()...)
				d.same(fmt.Sprintf("%d: accumulated loss", n), d.load(kernels.F32, k.Loss, 1), plus(loss, loss))
				d.near(fmt.Sprintf("%d: dx in the place of x", n), d.load(dt, k.X, n), want, stored(dt))
			}
		}
	})
}
