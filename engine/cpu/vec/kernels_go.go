package vec

import (
	"math"

	"hatchery/engine/cpu/isa"
)

// The functions here do in Go what the assembly kernels do: the same operations in the same
// order. A product that is added to something is written float32(a*b), because Go may
// otherwise fuse the two operations.

// partial is a reduction in 16 parts: element i belongs to part i%16.
type partial [16]float32

// total adds the parts, those 8 apart first, then 4, 2 and 1.
func (p *partial) total() float32 {
	for h := 8; h > 0; h /= 2 {
		for i := range h {
			p[i] += p[i+h]
		}
	}
	return p[0]
}

// largest returns the largest element, ignoring NaNs, or -Inf if there is none.
func largest(x []float32) float32 {
	var p partial
	for i := range p {
		p[i] = float32(math.Inf(-1))
	}
	for i, v := range x {
		if v > p[i%16] {
			p[i%16] = v
		}
	}
	for h := 8; h > 0; h /= 2 {
		for i := range h {
			if !(p[i] > p[i+h]) {
				p[i] = p[i+h]
			}
		}
	}
	return p[0]
}

// exp returns e^x for -104 <= x <= 89 or NaN.
func exp(x float32) float32 {
	const log2e = float32(math.Log2E)
	n := float32(math.RoundToEven(float64(x * log2e)))
	r := isa.FMA(-n, 0.693359375, x)
	r = isa.FMA(-n, -2.12194440e-4, r)
	p := float32(1.9875691500e-4)
	p = isa.FMA(p, r, 1.3981999507e-3)
	p = isa.FMA(p, r, 8.3334519073e-3)
	p = isa.FMA(p, r, 4.1665795894e-2)
	p = isa.FMA(p, r, 1.6666665459e-1)
	p = isa.FMA(p, r, 5.0000001201e-1)
	p = isa.FMA(p, float32(r*r), r)
	p = float32(p + 1)
	if n != n {
		return n
	}
	return float32(math.Ldexp(float64(p), int(n)))
}

// expShare returns e^x for softmax, or 0 if that is less than e^-80, which avoids denormal
// numbers.
func expShare(x float32) float32 {
	if x < -80 {
		return 0
	}
	return exp(x)
}

func scaleGo(dst, x []float32, s float32) {
	for i, v := range x {
		dst[i] = v * s
	}
}

func addScaledGo(dst, a, b []float32, s float32) {
	for i, v := range a {
		dst[i] = isa.FMA(b[i], s, v)
	}
}

// phi returns Phi(-|x|) and exp(-x*x/2).
func phi(x float32) (q, e float32) {
	a := math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	t := 1 / isa.FMA(a, 0.3275911*math.Sqrt2/2, 1)
	e = float32(a*a) * -0.5
	if e < -80 { // no denormal numbers; NaN passes
		e = -80
	}
	e = exp(e)
	q = float32(1.061405429 / 2)
	q = isa.FMA(q, t, -1.453152027/2)
	q = isa.FMA(q, t, 1.421413741/2)
	q = isa.FMA(q, t, -0.284496736/2)
	q = isa.FMA(q, t, 0.254829592/2)
	return float32(q*t) * e, e
}

func geluGo(dst, x []float32) {
	for i, v := range x {
		q, _ := phi(v)
		z := v
		if v < 0 { // NaN and -0 pass
			z = 0
		}
		a := float32(math.Abs(float64(v)))
		dst[i] = isa.FMA(-a, q, z)
	}
}

func geluBackwardGo(dx, dy, x []float32) {
	for i, v := range x {
		q, e := phi(v)
		h := math.Float32frombits(math.Float32bits(0.5-q) | math.Float32bits(v)&(1<<31))
		h = float32(h + 0.5)
		dx[i] = isa.FMA(float32(e*float32(1/math.Sqrt(2*math.Pi))), v, h) * dy[i]
	}
}

func adamwGo(p, m, v, grad []float32, a *adam) {
	for i := range p {
		d := float32(grad[i] * a.gradScale)
		m[i] = isa.FMA(d, a.mix1, float32(m[i]*a.keep1))
		v[i] = isa.FMA(float32(d*d), a.mix2, float32(v[i]*a.keep2))
		t := isa.FMA(float32(math.Sqrt(float64(v[i]))), a.root, a.eps)
		p[i] = isa.FMA(p[i], a.decay, -(float32(m[i]*a.step) / t))
	}
}

func sumGo(x []float32) float32 {
	var p partial
	for i, v := range x {
		p[i%16] += v
	}
	return p.total()
}

func dotGo(a, b []float32) float32 {
	var p partial
	for i, v := range a {
		p[i%16] = isa.FMA(v, b[i], p[i%16])
	}
	return p.total()
}

func softmaxGo(dst, x []float32, scale float32) {
	m := float32(largest(x) * scale)
	var sum partial
	for i, v := range x {
		dst[i] = expShare(isa.FMA(v, scale, -m))
		sum[i%16] += dst[i]
	}
	scaleGo(dst[:len(x)], dst[:len(x)], 1/sum.total())
}

func softmaxBackwardGo(dx, dy, y []float32, scale float32) {
	sum := dotGo(y, dy)
	for i, v := range y {
		dx[i] = float32(float32(dy[i]-sum)*v) * scale
	}
}

func layerNormGo(dst, x, w, b []float32, inv, eps float32) (mean, rstd float32) {
	mean = float32(sumGo(x) * inv)
	var p partial
	for i, v := range x {
		d := float32(v - mean)
		p[i%16] = isa.FMA(d, d, p[i%16])
	}
	rstd = 1 / float32(math.Sqrt(float64(isa.FMA(p.total(), inv, eps))))
	for i, v := range x {
		dst[i] = isa.FMA(float32(float32(v-mean)*rstd), w[i], b[i])
	}
	return mean, rstd
}

func layerNormBackwardGo(dx, dy, x, w, dw, db, plus []float32, inv, mean, rstd float32) {
	var s1, s2 partial
	for i, v := range x {
		d := float32(dy[i] * w[i])
		s1[i%16] += d
		s2[i%16] = isa.FMA(d, float32(float32(v-mean)*rstd), s2[i%16])
	}
	c1, c2 := float32(s1.total()*inv), float32(s2.total()*inv)
	for i, v := range x {
		n, d := float32(float32(v-mean)*rstd), dy[i]
		db[i] += d
		dw[i] = isa.FMA(d, n, dw[i])
		d = isa.FMA(-c2, n, float32(float32(d*w[i])-c1))
		if plus == nil {
			dx[i] = d * rstd
		} else {
			dx[i] = isa.FMA(d, rstd, plus[i])
		}
	}
}
