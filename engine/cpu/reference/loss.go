package reference

import "math"

// logSumExp returns log Σ exp(x), or NaN if x contains a NaN.
func logSumExp[T Float](x []T) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	var z float64
	for _, v := range x {
		z += math.Exp(float64(v) - top)
	}
	return top + math.Log(z)
}

// RowLoss returns the cross-entropy of one row of logits.
func RowLoss[T Float](x, targets []T) (loss float64) {
	l := logSumExp(x)
	for j, t := range targets {
		loss -= float64(t) * (float64(x[j]) - l)
	}
	return loss
}

func crossEntropy[T Float](loss, x, targets []T, b, classes int) {
	var sum float64
	for i := range b {
		sum += RowLoss(x[i*classes:][:classes], targets[i*classes:][:classes])
	}
	loss[0] = T(sum / float64(b))
}

func crossEntropyBackward[T Float](dx, x, targets, dloss []T, b, classes int) {
	for i := range b {
		first, end := i*classes, (i+1)*classes
		RowGradient(dx[first:end], x[first:end], targets[first:end], dloss[0]/T(b))
	}
}

// RowGradient sets dx to the gradient of scale times RowLoss.
func RowGradient[T Float](dx, x, targets []T, scale T) {
	l := logSumExp(x)
	var mass float64
	for _, v := range targets {
		mass += float64(v)
	}
	for j, v := range x {
		dx[j] = scale * T(mass*math.Exp(float64(v)-l)-float64(targets[j]))
	}
}

func l1[T Float](loss, x, y []T) {
	var sum float64
	for i := range x {
		sum += math.Abs(float64(x[i]) - float64(y[i]))
	}
	loss[0] = T(sum / float64(len(x)))
}

func l1Backward[T Float](dx, x, y, dloss []T) {
	L1Gradient(dx, x, y, dloss[0]/T(len(x)))
}

// L1Gradient sets dx to the gradient of g times the sum of |x - y|.
func L1Gradient[T Float](dx, x, y []T, g T) {
	for i := range x {
		switch d := x[i] - y[i]; {
		case d > 0:
			dx[i] = g
		case d < 0:
			dx[i] = -g
		default:
			dx[i] = 0 * d // NaN stays NaN
		}
	}
}

func score[T Float](loss, correct, x, targets []T, b, classes int) {
	for i := range b {
		row, t := x[i*classes:][:classes], targets[i*classes:][:classes]
		if loss != nil {
			loss[i] = T(RowLoss(row, t))
		}
		if correct == nil {
			continue
		}
		correct[i] = RowCorrect(row, t)
	}
}

// RowCorrect returns 1 if the largest logit of a row is at its largest target, else 0.
func RowCorrect[T Float](x, targets []T) T {
	if argmax(x) == argmax(targets) {
		return 1
	}
	return 0
}

// argmax returns the index of the first largest element, or -1 if x contains a NaN, so
// that a diverged network is never right.
func argmax[T Float](x []T) int {
	best := 0
	for i, v := range x {
		if v != v {
			return -1
		}
		if v > x[best] {
			best = i
		}
	}
	return best
}
