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
//	GELU                0.46     0.57
//	GELUBackward        0.58     0.66
//	Softmax, rows 192   0.36     0.53
//	LayerNorm           0.23     0.22
//	LayerNormBackward   0.36     0.45
//	AdamW               0.37     0.34    0.70
//	AddScaled           0.097    0.093   1.13
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
