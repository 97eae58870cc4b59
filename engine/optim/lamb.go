package optim

import "math"

// LAMB implements "Large Batch Optimization for Deep Learning" (You et al., ICLR 2020)
// in NVIDIA's variant, which the official code of Deep Model Assembling uses and
// timm keeps as Lamb: both moments are bias-corrected, weight decay is part of
// the update, and the update of a tensor is scaled to the norm of its weights
// (the trust ratio) only where weight decay applies. It is not safe for
// concurrent use.
//
// Its clipping by the global norm belongs to the algorithm: NVIDIA's limit is 1.
type LAMB struct {
	moments
	current lambStep

	// Sums of each chunk, and the trust ratio of each parameter.
	weightSquares, updateSquares []float64
	ratios                       []float64

	// Method values made once, because making one allocates.
	measureBody, applyBody func(i int)
}

// lambStep is the step in progress.
type lambStep struct {
	lr, scale      float64 // scale of the gradients
	first, rootOf2 float64 // bias corrections: of m, and the root of v's
}

// NewLAMB is like New, for LAMB.
func NewLAMB(params []Param, cfg Config) (*LAMB, error) {
	m, err := newMoments("LAMB", params, cfg)
	if err != nil {
		return nil, err
	}
	o := &LAMB{moments: m, ratios: make([]float64, len(params))}
	o.weightSquares, o.updateSquares = make([]float64, len(o.chunks)), make([]float64, len(o.chunks))
	o.squareBody, o.measureBody, o.applyBody = o.squareChunk, o.measureChunk, o.applyChunk
	return o, nil
}

// Step implements Optimizer. Gradients are divided by norm/clip if that is above 1,
// without the epsilon of torch's clipping.
func (o *LAMB) Step(lr, clip float64) (norm float64) {
	scale := 1.0
	if clip > 0 {
		norm = o.GradNorm()
		if math.IsInf(norm, 0) || math.IsNaN(norm) {
			return norm
		}
		scale = 1 / max(1, norm/clip)
	}
	o.step[0]++
	t := float64(o.step[0])
	o.current = lambStep{
		lr: lr, scale: scale,
		first: 1 - math.Pow(o.cfg.Beta1, t), rootOf2: math.Sqrt(1 - math.Pow(o.cfg.Beta2, t)),
	}
	o.cfg.Parallel(len(o.chunks), o.measureBody)
	o.trust()
	o.cfg.Parallel(len(o.chunks), o.applyBody)
	return norm
}

// measureChunk updates the moments and sums the squares of weights and updates.
func (o *LAMB) measureChunk(i int) {
	c := o.chunks[i]
	p := &o.params[c.param]
	value, grad := p.Value[c.lo:c.hi], p.Grad[c.lo:c.hi]
	m, v := o.m[c.param][c.lo:c.hi], o.v[c.param][c.lo:c.hi]
	decay := o.decay(p)
	var weights, updates float64
	for j, w := range value {
		g := float64(grad[j]) * o.current.scale
		m[j] = float32(o.cfg.Beta1*float64(m[j]) + (1-o.cfg.Beta1)*g)
		v[j] = float32(o.cfg.Beta2*float64(v[j]) + (1-o.cfg.Beta2)*g*g)
		u := o.updateOf(float64(w), m[j], v[j], decay)
		weights += float64(w) * float64(w)
		updates += u * u
	}
	o.weightSquares[i], o.updateSquares[i] = weights, updates
}

// updateOf returns the update of a weight, before learning rate and trust ratio.
func (o *LAMB) updateOf(w float64, m, v float32, decay float64) float64 {
	return float64(m)/o.current.first/(math.Sqrt(float64(v))/o.current.rootOf2+o.cfg.Eps) + decay*w
}

func (o *LAMB) decay(p *Param) float64 {
	if !p.Decay {
		return 0
	}
	return o.cfg.WeightDecay
}

// trust sets the trust ratio of every parameter: |weights| / |update| if it has weight
// decay and neither norm is 0, else 1.
func (o *LAMB) trust() {
	for i := 0; i < len(o.chunks); {
		param := o.chunks[i].param
		var weights, updates float64
		for ; i < len(o.chunks) && o.chunks[i].param == param; i++ {
			weights += o.weightSquares[i]
			updates += o.updateSquares[i]
		}
		o.ratios[param] = 1
		if o.decay(&o.params[param]) != 0 && weights > 0 && updates > 0 {
			o.ratios[param] = math.Sqrt(weights / updates)
		}
	}
}

// applyChunk computes the update again, which is cheaper than storing it.
func (o *LAMB) applyChunk(i int) {
	c := o.chunks[i]
	p := &o.params[c.param]
	value := p.Value[c.lo:c.hi]
	m, v := o.m[c.param][c.lo:c.hi], o.v[c.param][c.lo:c.hi]
	decay, rate := o.decay(p), o.current.lr*o.ratios[c.param]
	for j, w := range value {
		value[j] = float32(float64(w) - rate*o.updateOf(float64(w), m[j], v[j], decay))
	}
}
