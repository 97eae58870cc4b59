// Package optim updates weights from gradients, over float32 slices: AdamW and LAMB,
// clipping by the global norm, the moving average of the weights (EMA) and DeiT's
// learning-rate schedules.
//
// Parameters are cut into chunks of a fixed length. One call updates one chunk, and sums
// are taken over chunks in order, so the weights do not depend on the number of threads.
package optim

import (
	"math"

	"hatchery/engine/cpu/vec"
)

// AdamW implements "Decoupled Weight Decay Regularization" (Loshchilov and Hutter,
// 2019) as torch.optim.AdamW computes it. It is not safe for concurrent use.
type AdamW struct {
	moments
	update     vec.AdamW   // the step in progress
	updateBody func(i int) // a method value, made once because making one allocates
}

// NewAdamW is like New, for AdamW.
func NewAdamW(params []Param, cfg Config) (*AdamW, error) {
	m, err := newMoments("AdamW", params, cfg)
	if err != nil {
		return nil, err
	}
	o := &AdamW{moments: m}
	o.squareBody, o.updateBody = o.squareChunk, o.updateChunk
	return o, nil
}

// Step implements Optimizer. It clips as torch.nn.utils.clip_grad_norm_
// does; without clipping the norm is not computed.
func (o *AdamW) Step(lr, clip float64) (norm float64) {
	coef := float32(1)
	if clip > 0 {
		norm = o.GradNorm()
		if math.IsInf(norm, 0) || math.IsNaN(norm) {
			return norm
		}
		coef = clipCoef(norm, clip)
	}
	o.step[0]++
	o.update = vec.AdamW{
		LR: lr, Beta1: o.cfg.Beta1, Beta2: o.cfg.Beta2, Eps: o.cfg.Eps, WeightDecay: o.cfg.WeightDecay,
		Step: int(o.step[0]), GradScale: coef,
	}
	o.cfg.Parallel(len(o.chunks), o.updateBody)
	return norm
}

func (o *AdamW) updateChunk(i int) {
	c := o.chunks[i]
	p := &o.params[c.param]
	u := o.update
	if !p.Decay {
		u.WeightDecay = 0
	}
	u.Update(p.Value[c.lo:c.hi], o.m[c.param][c.lo:c.hi], o.v[c.param][c.lo:c.hi], p.Grad[c.lo:c.hi])
}
