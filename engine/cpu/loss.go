package cpu

import (
	"hatchery/engine/cpu/reference"
	"hatchery/engine/nn"
)

// The losses compute in float64, row by row with the code of package reference, and add
// up in the order of the rows: they are that package's, bit for bit. L1Forward is not
// among them, since it is one long sum in a fixed order.

// lossRows calls f with the rows of a loss, each as the range of its elements, on all
// cores.
func lossRows(pool *Pool, b, classes int, f func(row, at, end int)) func() {
	const cost = 16 // of an element, in those of a cheap kernel: an exponential in float64
	return rows(pool, b, cost*classes, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i, i*classes, (i+1)*classes)
		}
	})
}

func crossEntropy(k nn.CrossEntropyForward, loss, x, targets []float32, pool *Pool) func() {
	losses := make([]float64, k.B)
	each := lossRows(pool, k.B, k.Classes, func(i, at, end int) {
		losses[i] = reference.RowLoss(x[at:end], targets[at:end])
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
	return lossRows(pool, k.B, k.Classes, func(_, at, end int) {
		reference.RowGradient(dx[at:end], x[at:end], targets[at:end], dloss[0]/float32(k.B))
	})
}

func l1Backward(k nn.L1Backward, dx, x, y, dloss []float32, pool *Pool) func() {
	return chunks(pool, k.N, func(lo, hi int) {
		reference.L1Gradient(dx[lo:hi], x[lo:hi], y[lo:hi], dloss[0]/float32(k.N))
	})
}

func score(k nn.Score, loss, correct, x, targets []float32, pool *Pool) func() {
	return lossRows(pool, k.B, k.Classes, func(i, at, end int) {
		if loss != nil {
			loss[i] = float32(reference.RowLoss(x[at:end], targets[at:end]))
		}
		if correct != nil {
			correct[i] = reference.RowCorrect(x[at:end], targets[at:end])
		}
	})
}
