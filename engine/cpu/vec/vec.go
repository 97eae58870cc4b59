// Package vec has the float32 operations of training that are not matrix
// products: elementwise functions, rows of softmax and LayerNorm forward and
// backward, sums, and the AdamW update.
//
// Results are the same bits for every instruction set. Elementwise functions
// do the same operations on each element. Sums of floats i keep 16 parts, part
// i%16 by addition or fused multiply-add in the order of i, and end by adding
// parts 8 apart, then 4, 2 and 1. Only the payload of a NaN is left open. NaN
// and infinities come through; nothing is clipped silently.
//
// All slices of a call have the length of its first input; longer ones are
// used up to there and shorter ones panic. A result may be an input's slice,
// but must not overlap it otherwise.
//
// # Speed
//
// One thread of a Xeon of the Sapphire Rapids kind, in ns an element, the best of
// many short runs on a machine that others used too, operands in the L2 cache. The roof is a copy there: 0.073 ns, 110 GB/s. Of what moves more
// than it computes, the last column gives the share of the roof's bytes/s (go
// test -bench Kernels):
//
//	                   AVX-512   AVX2    of roof
//	Exp                 0.27     0.38
//	GELU                0.46     0.57
//	GELUBackward        0.58     0.66
//	Softmax, rows 192   0.36     0.53
//	LayerNorm           0.23     0.22
//	LayerNormBackward   0.36     0.45
//	AdamW               0.37     0.34    0.70
//	AddScaled           0.097    0.093   1.13
//	Dot                 0.061    0.062   1.19
//
// In memory a copy takes 0.32 ns (25 GB/s), AdamW 1.1 ns (26 GB/s).
package vec

//go:generate go run -C ../gen ./vec -out ../vec/kernels_amd64.s -stubs ../vec/stubs_amd64.go -pkg vec

import "math"

// chunk bounds one call of an assembly kernel: the scheduler cannot interrupt
// it, so it should last microseconds.
const chunk = 8192

// each cuts 0..n for kernels that may be called on parts.
func each(n int, f func(lo, hi int)) {
	for lo := 0; lo < n; lo += chunk {
		f(lo, min(lo+chunk, n))
	}
}

// Exp sets dst = e^x, within 1 in the last place: +Inf from 88.73 on,
// denormals and then 0 below -87.3.
func Exp(dst, x []float32) {
	dst = dst[:len(x)]
	each(len(x), func(lo, hi int) { exp(dst[lo:hi], x[lo:hi]) })
}

// Scale sets dst = s*x.
func Scale(dst, x []float32, s float32) {
	dst = dst[:len(x)]
	each(len(x), func(lo, hi int) { scale(dst[lo:hi], x[lo:hi], s) })
}

// Add sets dst = a + b.
func Add(dst, a, b []float32) { AddScaled(dst, a, b, 1) }

// AddScaled sets dst = a + s*b, rounded once: a residual connection, with s
// the drop path factor of a sample, or an accumulation.
func AddScaled(dst, a, b []float32, s float32) {
	dst, b = dst[:len(a)], b[:len(a)]
	each(len(a), func(lo, hi int) { addScaled(dst[lo:hi], a[lo:hi], b[lo:hi], s) })
}

// SubScaled sets dst = (a-b)*s, the gradient of a mean squared error.
func SubScaled(dst, a, b []float32, s float32) {
	dst, b = dst[:len(a)], b[:len(a)]
	each(len(a), func(lo, hi int) { subScaled(dst[lo:hi], a[lo:hi], b[lo:hi], s) })
}

// SignScaled sets dst = sign(a-b)*s, the gradient of an L1 loss. The sign of
// 0 is 0, of NaN is NaN.
func SignScaled(dst, a, b []float32, s float32) {
	dst, b = dst[:len(a)], b[:len(a)]
	each(len(a), func(lo, hi int) { sign(dst[lo:hi], a[lo:hi], b[lo:hi], s) })
}

// GELU sets dst = x*Phi(x), Phi the normal distribution (Hendrycks and Gimpel,
// 2016, the exact form that timm uses), with erf by Abramowitz and Stegun
// 7.1.26: within 4e-7 absolute for |x| < 6 and 6e-8*|x| beyond. An infinite x gives NaN.
func GELU(dst, x []float32) {
	dst = dst[:len(x)]
	each(len(x), func(lo, hi int) { gelu(dst[lo:hi], x[lo:hi]) })
}

// GELUBackward sets dx = dy*(Phi(x) + x*phi(x)), x being GELU's input.
func GELUBackward(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	each(len(x), func(lo, hi int) { geluBackward(dx[lo:hi], dy[lo:hi], x[lo:hi]) })
}

// Sum is the sum of x; chunks of 8192 are added in float64.
func Sum(x []float32) (s float64) {
	each(len(x), func(lo, hi int) { s += float64(sum(x[lo:hi])) })
	return s
}

// Dot is the sum of a*b; chunks of 8192 are added in float64. Dot(x, x) is the
// square of x's norm.
func Dot(a, b []float32) (s float64) {
	b = b[:len(a)]
	each(len(a), func(lo, hi int) { s += float64(dot(a[lo:hi], b[lo:hi])) })
	return s
}

// L1 is the sum of |a-b|; chunks of 8192 are added in float64.
func L1(a, b []float32) (s float64) {
	b = b[:len(a)]
	each(len(a), func(lo, hi int) { s += float64(absDiff(a[lo:hi], b[lo:hi])) })
	return s
}

// ColumnSums adds to dst the rows of x, which lie ld floats apart, from the
// first to the last: the gradient of a bias of len(dst) floats.
func ColumnSums(dst, x []float32, rows, ld int) {
	if len(dst) == 0 {
		return
	}
	for i := range rows {
		addScaled(dst, dst, x[i*ld:][:len(dst)], 1)
	}
}

// Softmax sets dst = softmax(scale*x), scale > 0. What is less than e^-80 of
// the largest becomes 0. A row with a NaN or +Inf becomes NaN.
func Softmax(dst, x []float32, scale float32) {
	if len(x) > 0 {
		softmax(dst[:len(x)], x, scale)
	}
}

// SoftmaxBackward sets dx = scale*y*(dy - sum(dy*y)), with y = softmax(scale*x).
func SoftmaxBackward(dx, dy, y []float32, scale float32) {
	if len(y) > 0 {
		softmaxBackward(dx[:len(y)], dy[:len(y)], y, scale)
	}
}

// LogSumExp is log(sum(e^x)). It is -Inf for no x, and NaN where an x is NaN
// or +Inf or all are -Inf.
func LogSumExp(x []float32) float32 {
	if len(x) == 0 {
		return float32(math.Inf(-1))
	}
	m, s := expSum(x)
	return m + float32(math.Log(float64(s)))
}

// CrossEntropy is the loss -sum(target*log(softmax(logits))) of one sample for
// any target distribution (mixup, cutmix, smoothing), as timm's
// SoftTargetCrossEntropy. It sets dlogits to the gradient times scale, which
// is 1/batch for a mean.
func CrossEntropy(dlogits, logits, target []float32, scale float32) float32 {
	if len(logits) == 0 {
		return 0
	}
	dlogits, target = dlogits[:len(logits)], target[:len(logits)]
	mass := sum(target)
	loss := float32(LogSumExp(logits)*mass) - dot(target, logits)
	softmax(dlogits, logits, 1)
	if mass != 1 {
		scaleRow(dlogits, mass)
	}
	subScaled(dlogits, dlogits, target, scale)
	return loss
}

func scaleRow(x []float32, s float32) { scale(x, x, s) }

// LayerNorm sets dst = (x-mean)*rstd*w + b for one row, rstd = 1/sqrt(variance
// + eps), and returns what the gradient needs. timm's ViT has eps 1e-6.
func LayerNorm(dst, x, w, b []float32, eps float32) (mean, rstd float32) {
	n := len(x)
	if n == 0 {
		return 0, 0
	}
	return layerNorm(dst[:n], x, w[:n], b[:n], 1/float32(n), eps)
}

// LayerNormBackward sets dx to the gradient of LayerNorm's row x for dy, plus
// the row plus where that is not nil (the gradient that passes by in a
// residual connection), and adds the gradients of w and b to dw and db. Calls
// that share dw and db add in the order of the calls.
func LayerNormBackward(dx, dy, x, w, dw, db, plus []float32, mean, rstd float32) {
	n := len(x)
	if n == 0 {
		return
	}
	if plus != nil {
		plus = plus[:n]
	}
	layerNormBackward(dx[:n], dy[:n], x, w[:n], dw[:n], db[:n], plus, 1/float32(n), mean, rstd)
}

// AdamW is the update of Loshchilov and Hutter (2019) as torch.optim.AdamW
// does it: decay apart from the gradient, eps outside of the root.
//
//	p -= lr*decay*p
//	m = beta1*m + (1-beta1)*grad
//	v = beta2*v + (1-beta2)*grad*grad
//	p -= lr * m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps)
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // t, 1 for the first update
	GradScale                          float32 // times grad, for clipping; 1 for none
}

// adam is AdamW as the kernel takes it. 1-beta is rounded once, as PyTorch
// does it: 1 minus a rounded beta2 of 0.999 is off by 1e-5.
type adam struct{ gradScale, keep1, mix1, keep2, mix2, step, root, eps, decay float32 }

// Update applies the update to p, with its gradient and moments m and v.
func (a AdamW) Update(p, m, v, grad []float32) {
	m, v, grad = m[:len(p)], v[:len(p)], grad[:len(p)]
	k := adam{
		gradScale: a.GradScale,
		keep1:     float32(a.Beta1),
		mix1:      float32(1 - a.Beta1),
		keep2:     float32(a.Beta2),
		mix2:      float32(1 - a.Beta2),
		step:      float32(a.LR / (1 - math.Pow(a.Beta1, float64(a.Step)))),
		root:      float32(1 / math.Sqrt(1-math.Pow(a.Beta2, float64(a.Step)))),
		eps:       float32(a.Eps),
		decay:     float32(1 - a.LR*a.WeightDecay),
	}
	each(len(p), func(lo, hi int) { adamw(p[lo:hi], m[lo:hi], v[lo:hi], grad[lo:hi], &k) })
}
