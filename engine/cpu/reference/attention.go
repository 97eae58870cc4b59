package reference

import (
	"math"

	"hatchery/engine/nn"
)

func attention[T Float](out, lse, qkv []T, k nn.AttentionForward) {
	c := k.H * k.D
	scale := 1 / math.Sqrt(float64(k.D))
	p := make([]float64, k.N)
	for b := range k.B {
		for h := range k.H {
			at := func(token, which int) []T { return qkv[(b*k.N+token)*3*c+which*c+h*k.D:][:k.D] }
			for i := range k.N {
				q := at(i, 0)
				top := math.Inf(-1)
				for j := range p {
					var s T
					for l, kv := range at(j, 1) {
						s += q[l] * kv
					}
					p[j] = float64(s) * scale
					top = max(top, p[j])
				}
				var z float64
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					z += p[j]
				}
				if lse != nil {
					lse[(b*k.H+h)*k.N+i] = T(top + math.Log(z))
				}
				if out == nil {
					continue
				}
				o := out[(b*k.N+i)*c+h*k.D:][:k.D]
				clear(o)
				for j := range p {
					w := T(p[j] / z)
					for l, v := range at(j, 2) {
						o[l] += w * v
					}
				}
			}
		}
	}
}

func attentionBackward[T Float](dqkv, qkv, out, lse, dout []T, k nn.AttentionBackward) {
	c := k.H * k.D
	scale := 1 / math.Sqrt(float64(k.D))
	clear(dqkv)
	for b := range k.B {
		for h := range k.H {
			at := func(s []T, token, which int) []T { return s[(b*k.N+token)*3*c+which*c+h*k.D:][:k.D] }
			for i := range k.N {
				q, dq := at(qkv, i, 0), at(dqkv, i, 0)
				o, do := out[(b*k.N+i)*c+h*k.D:][:k.D], dout[(b*k.N+i)*c+h*k.D:][:k.D]
				var delta float64
				for l := range do {
					delta += float64(do[l]) * float64(o[l])
				}
				for j := range k.N {
					key, v := at(qkv, j, 1), at(qkv, j, 2)
					dk, dv := at(dqkv, j, 1), at(dqkv, j, 2)
					var s, dp T
					for l := range q {
						s += q[l] * key[l]
						dp += do[l] * v[l]
					}
					p := math.Exp(float64(s)*scale - float64(lse[(b*k.H+h)*k.N+i]))
					ds := T(p * (float64(dp) - delta) * scale)
					for l := range q {
						dv[l] += T(p) * do[l]
						dq[l] += ds * key[l]
						dk[l] += ds * q[l]
					}
				}
			}
		}
	}
}
