// Package vec implements the float32 operations of training that are not matrix
// products: elementwise functions, rows of softmax and LayerNorm forward and
// backward, sums, and the AdamW update.
//
// All instruction sets give the same bits. Elementwise functions do the same operations
// on each element. Sums have 16 parts: element i is added to part i%16, by addition or
// fused multiply-add, in the order of i; then parts 8 apart are added, then 4, 2 and 1
// apart. Only the payload of a NaN is unspecified. NaNs and infinities propagate;
// nothing is clipped silently.
//
// All slices of a call should have the length of its first input. The rest of longer
// ones is ignored; shorter ones cause a panic. A result may be the same slice as an
// input, but must not overlap it otherwise.
//
// # Speed
//
// In ns per element on one thread of a Xeon (Sapphire Rapids), the best of many short
// runs on a shared machine, with operands in the L2 cache. The roof is a copy in that
// cache: 0.073 ns, 110 GB/s. The last column is the fraction of the roof's bytes/s, for
// functions that move more than they compute (go test -bench Kernels):
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

// chunk is the most elements in one call of an assembly kernel. The scheduler cannot
// interrupt the call, so it should take only microseconds.
const chunk = 8192

// each calls f with ranges of at most chunk elements that cover 0..n.
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

// GELU sets dst = x*Phi(x), where Phi is the normal distribution (Hendrycks and Gimpel,
// 2016, the exact form that timm uses), with erf by Abramowitz and Stegun 7.1.26. The
// absolute error is at most 4e-7 for |x| < 6 and 6e-8*|x| beyond. An infinite x gives NaN.
func GELU(dst, x []float32) {
	dst = dst[:len(x)]
	each(len(x), func(lo, hi int) { gelu(dst[lo:hi], x[lo:hi]) })
}

// GELUBackward sets dx = dy*(Phi(x) + x*phi(x)), where x is GELU's input.
func GELUBackward(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	each(len(x), func(lo, hi int) { geluBackward(dx[lo:hi], dy[lo:hi], x[lo:hi]) })
}

// ColumnSums adds the rows of x, which are ld floats apart, to dst in order. This gives the
// gradient of a bias of len(dst) floats.
func ColumnSums(dst, x []float32, rows, ld int) {
	if len(dst) == 0 {
		return
	}
	for i := range rows {
		addScaled(dst, dst, x[i*ld:][:len(dst)], 1)
	}
}

// Softmax sets dst = softmax(scale*x), scale > 0. Results less than e^-80 of the largest
// become 0. A row with a NaN or +Inf becomes NaN.
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
// + eps), and returns mean and rstd for LayerNormBackward. timm's ViT uses eps 1e-6.
func LayerNorm(dst, x, w, b []float32, eps float32) (mean, rstd float32) {
	n := len(x)
	if n == 0 {
		return 0, 0
	}
	return layerNorm(dst[:n], x, w[:n], b[:n], 1/float32(n), eps)
}

// LayerNormBackward sets dx to the gradient of LayerNorm's input x for dy. If plus is not
// nil, it adds that row, the gradient of a residual connection. It adds the gradients of w
// and b to dw and db.
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

// AdamW is the update of Loshchilov and Hutter (2019) as in torch.optim.AdamW, with
// decoupled weight decay and eps outside the root.
//
//	p -= lr*decay*p
//	m = beta1*m + (1-beta1)*grad
//	v = beta2*v + (1-beta2)*grad*grad
//	p -= lr * m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps)
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // t, 1 for the first update
	GradScale                          float32 // factor of grad, for clipping; 1 if there is none
}

// adam holds the parameters of the AdamW kernel. 1-beta is rounded once, as in PyTorch: 1
// minus a rounded beta2 of 0.999 would have an error of 1e-5.
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
