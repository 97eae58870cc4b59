package optim

import "math"

// GradNorm returns the 2-norm of all gradients together. It sums in float64 over the
// chunks in order.
func (o *moments) GradNorm() float64 {
	o.cfg.Parallel(len(o.chunks), o.squareBody)
	var sum float64
	for _, s := range o.squares {
		sum += s
	}
	return math.Sqrt(sum)
}

func (o *moments) squareChunk(i int) {
	c := o.chunks[i]
	var sum float64
	for _, g := range o.params[c.param].Grad[c.lo:c.hi] {
		sum += float64(g) * float64(g)
	}
	o.squares[i] = sum
}

// clipCoef returns the factor by which torch.nn.utils.clip_grad_norm_ scales
// gradients of the given global norm.
func clipCoef(norm, limit float64) float32 {
	return float32(min(1, limit/(norm+1e-6)))
}
