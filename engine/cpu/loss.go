package cpu

import (
	"hatchery/engine/cpu/reference"
	"hatchery/engine/nn"
)

// Losses are computed in float64, row by row with the code of package reference, and added
// in the order of the rows, so the results have the same bits as in that package. L1Forward
// has no code here, because it is one long sum in a fixed order.

// lossRows returns a function that calls f, on all cores, for each of b rows with the range
// of its elements.
func lossRows(pool *Pool, b, classes int, f func(row, first, end int)) func() {
	const cost = 16 // of an element, relative to a cheap kernel's: an exponential in float64
	return rows(pool, b, cost*classes, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i, i*classes, (i+1)*classes)
		}
	})
}

func crossEntropy(k nn.CrossEntropyForward, loss, x, targets []float32, pool *Pool) func() {
	losses := make([]float64, k.B)
	each := lossRows(pool, k.B, k.Classes, func(i, first, end int) {
		losses[i] = reference.RowLoss(x[first:end], targets[first:end])
	})
	return func() {
		each()
		var sum float64
		for _, l := range losses {
			sum += l
		}
		loss[0] = float32(sum / float64(k.B))
	}
}

func crossEntropyBackward(k nn.CrossEntropyBackward, dx, x, targets, dloss []float32, pool *Pool) func() {
	return lossRows(pool, k.B, k.Classes, func(_, first, end int) {
		reference.RowGradient(dx[first:end], x[first:end], targets[first:end], dloss[0]/float32(k.B))
	})
}

func l1Backward(k nn.L1Backward, dx, x, y, dloss []float32, pool *Pool) func() {
	return chunks(pool, k.N, func(lo, hi int) {
		reference.L1Gradient(dx[lo:hi], x[lo:hi], y[lo:hi], dloss[0]/float32(k.N))
	})
}

func score(k nn.Score, loss, correct, x, targets []float32, pool *Pool) func() {
	return lossRows(pool, k.B, k.Classes, func(i, first, end int) {
		if loss != nil {
			loss[i] = float32(reference.RowLoss(x[first:end], targets[first:end]))
		}
		if correct != nil {
			correct[i] = reference.RowCorrect(x[first:end], targets[first:end])
		}
	})
}
