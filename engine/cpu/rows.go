package cpu

import "math"

func softmax(x []float32) (lse float32) {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	sum := 0.0
	for i, v := range x {
		e := math.Exp(float64(v) - top)
		x[i] = float32(e)
		sum += e
	}
	r := float32(1 / sum)
	for i := range x {
		x[i] *= r
	}
	return float32(top + math.Log(sum))
}

func softmaxGradient(p, dp []float32, lse, delta, scale float32) {
	for i, s := range p {
		e := float32(math.Exp(float64(s) - float64(lse)))
		p[i] = e
		dp[i] = e * (dp[i] - delta) * scale
	}
}

func dot(a, b []float32) float32 {
	var s float32
	for i, x := range a {
		s += x * b[i]
	}
	return s
}
