//go:build !amd64

package vec

func scale(dst, x []float32, s float32) { scaleGo(dst, x, s) }

func addScaled(dst, a, b []float32, s float32) { addScaledGo(dst, a, b, s) }

func gelu(dst, x []float32) { geluGo(dst, x) }

func geluBackward(dx, dy, x []float32) { geluBackwardGo(dx, dy, x) }

func adamw(p, m, v, grad []float32, a *adam) { adamwGo(p, m, v, grad, a) }

func softmax(dst, x []float32, scale float32) { softmaxGo(dst, x, scale) }

func softmaxBackward(dx, dy, y []float32, scale float32) { softmaxBackwardGo(dx, dy, y, scale) }

func layerNorm(dst, x, w, b []float32, inv, eps float32) (mean, rstd float32) {
	return layerNormGo(dst, x, w, b, inv, eps)
}

func layerNormBackward(dx, dy, x, w, dw, db, plus []float32, inv, mean, rstd float32) {
	layerNormBackwardGo(dx, dy, x, w, dw, db, plus, inv, mean, rstd)
}
