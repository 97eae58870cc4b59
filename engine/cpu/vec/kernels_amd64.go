package vec

import (
	"unsafe"

	"hatchery/engine/cpu/isa"
)

// Each function here runs one kernel at the current level. Its slices must not be empty
// and must have the length of the kernel's first input; the exported functions ensure that.

func scale(dst, x []float32, s float32) {
	switch isa.Current() {
	case isa.AVX512:
		scale512(&dst[0], &x[0], len(x), s)
	case isa.AVX2:
		scale256(&dst[0], &x[0], len(x), s)
	default:
		scaleGo(dst, x, s)
	}
}

func addScaled(dst, a, b []float32, s float32) {
	switch isa.Current() {
	case isa.AVX512:
		addScaled512(&dst[0], &a[0], &b[0], len(a), s)
	case isa.AVX2:
		addScaled256(&dst[0], &a[0], &b[0], len(a), s)
	default:
		addScaledGo(dst, a, b, s)
	}
}

func gelu(dst, x []float32) {
	switch isa.Current() {
	case isa.AVX512:
		gelu512(&dst[0], &x[0], len(x))
	case isa.AVX2:
		gelu256(&dst[0], &x[0], len(x))
	default:
		geluGo(dst, x)
	}
}

func geluBackward(dx, dy, x []float32) {
	switch isa.Current() {
	case isa.AVX512:
		geluBackward512(&dx[0], &dy[0], &x[0], len(x))
	case isa.AVX2:
		geluBackward256(&dx[0], &dy[0], &x[0], len(x))
	default:
		geluBackwardGo(dx, dy, x)
	}
}

func adamw(p, m, v, grad []float32, a *adam) {
	switch isa.Current() {
	case isa.AVX512:
		adamw512(&p[0], &m[0], &v[0], &grad[0], len(p), a.gradScale, a.keep1, a.mix1, a.keep2, a.mix2, a.step, a.root, a.eps, a.decay)
	case isa.AVX2:
		adamw256(&p[0], &m[0], &v[0], &grad[0], len(p), a.gradScale, a.keep1, a.mix1, a.keep2, a.mix2, a.step, a.root, a.eps, a.decay)
	default:
		adamwGo(p, m, v, grad, a)
	}
}

func softmax(dst, x []float32, scale float32) {
	switch isa.Current() {
	case isa.AVX512:
		softmax512(&dst[0], &x[0], len(x), scale)
	case isa.AVX2:
		softmax256(&dst[0], &x[0], len(x), scale)
	default:
		softmaxGo(dst, x, scale)
	}
}

func softmaxBackward(dx, dy, y []float32, scale float32) {
	switch isa.Current() {
	case isa.AVX512:
		softmaxBackward512(&dx[0], &dy[0], &y[0], len(y), scale)
	case isa.AVX2:
		softmaxBackward256(&dx[0], &dy[0], &y[0], len(y), scale)
	default:
		softmaxBackwardGo(dx, dy, y, scale)
	}
}

func layerNorm(dst, x, w, b []float32, inv, eps float32) (mean, rstd float32) {
	switch isa.Current() {
	case isa.AVX512:
		return layerNorm512(&dst[0], &x[0], &w[0], &b[0], len(x), inv, eps)
	case isa.AVX2:
		return layerNorm256(&dst[0], &x[0], &w[0], &b[0], len(x), inv, eps)
	default:
		return layerNormGo(dst, x, w, b, inv, eps)
	}
}

func layerNormBackward(dx, dy, x, w, dw, db, plus []float32, inv, mean, rstd float32) {
	switch isa.Current() {
	case isa.AVX512:
		layerNormBackward512(&dx[0], &dy[0], &x[0], &w[0], &dw[0], &db[0], unsafe.SliceData(plus), len(x), inv, mean, rstd)
	case isa.AVX2:
		layerNormBackward256(&dx[0], &dy[0], &x[0], &w[0], &dw[0], &db[0], unsafe.SliceData(plus), len(x), inv, mean, rstd)
	default:
		layerNormBackwardGo(dx, dy, x, w, dw, db, plus, inv, mean, rstd)
	}
}
