package reference

import (
	"math"

	"hatchery/engine/nn"
)

// probabilities sets p to softmax(q kᵀ scale) for one query.
func probabilities[T Float](p []float64, q []T, key func(j int) []T, scale float64) {
	top := math.Inf(-1)
	for j := range p {
		var s T
		for l, k := range key(j) {
			s += q[l] * k
		}
		p[j] = float64(s) * scale
		top = max(top, p[j])
	}
	var z float64
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		z += p[j]
	}
	for j := range p {
		p[j] /= z
	}
}

// head returns the vector of a token in packed x [B, N, 3, H, D]. which is 0 for the
// query, 1 for the key, 2 for the value.
func head[T Float](x []T, k nn.AttentionForward, b, h, token, which int) []T {
	c := k.H * k.D
	return x[(b*k.N+token)*3*c+which*c+h*k.D:][:k.D]
}

func attention[T Float](out, qkv []T, k nn.AttentionForward) {
	c := k.H * k.D
	scale := 1 / math.Sqrt(float64(k.D))
	p := make([]float64, k.N)
	for b := range k.B {
		for h := range k.H {
			key := func(j int) []T { return head(qkv, k, b, h, j, 1) }
			for i := range k.N {
				probabilities(p, head(qkv, k, b, h, i, 0), key, scale)
				o := out[(b*k.N+i)*c+h*k.D:][:k.D]
				clear(o)
				for j := range p {
					for l, v := range head(qkv, k, b, h, j, 2) {
						o[l] += T(p[j]) * v
					}
				}
			}
		}
	}
}

func attentionBackward[T Float](dqkv, qkv, dout []T, kernel nn.AttentionBackward) {
	k := nn.AttentionForward(kernel)
	c := k.H * k.D
	scale := 1 / math.Sqrt(float64(k.D))
	p, dp := make([]float64, k.N), make([]float64, k.N)
	clear(dqkv)
	for b := range k.B {
		for h := range k.H {
			key := func(j int) []T { return head(qkv, k, b, h, j, 1) }
			for i := range k.N {
				q, dq := head(qkv, k, b, h, i, 0), head(dqkv, k, b, h, i, 0)
				do := dout[(b*k.N+i)*c+h*k.D:][:k.D]
				probabilities(p, q, key, scale)
				var mean float64
				for j := range p {
					var s T
					for l, v := range head(qkv, k, b, h, j, 2) {
						s += do[l] * v
					}
					dp[j] = float64(s)
					mean += p[j] * dp[j]
				}
				for j := range p {
					ds := T(p[j] * (dp[j] - mean) * scale)
					kj, dk, dv := key(j), head(dqkv, k, b, h, j, 1), head(dqkv, k, b, h, j, 2)
					for l := range q {
						dv[l] += T(p[j]) * do[l]
						dq[l] += ds * kj[l]
						dk[l] += ds * q[l]
					}
				}
			}
		}
	}
}
