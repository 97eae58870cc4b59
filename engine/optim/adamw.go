// Package optim turns gradients into new weights: AdamW, global-norm clipping
// and the learning-rate schedules of DeiT, over float32 slices.
//
//	o, err := optim.NewAdamW(params, optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05})
//	...
//	for step := range steps {
//		// forward and backward fill every Param.Grad
//		o.Step(schedule.At(step), 1.0)
//	}
//
// The parameters are cut into chunks of a fixed length. A chunk is updated by
// one call and sums are taken over chunks in their order, so the weights do
// not depend on the number of threads.
package optim

import (
	"fmt"
	"iter"
	"math"
	"strings"

	"hatchery/engine/cpu/vec"
)

// Param is one trained tensor. Value and Grad are the caller's memory, of the
// same length, and keep their addresses as long as the optimizer lives.
type Param struct {
	Name  string // timm's name, e.g. "blocks.0.attn.qkv.weight"
	Value []float32
	Grad  []float32
	Decay bool // weight decay applies; DeiT: not to 1-D tensors, biases, pos_embed, cls_token
}

// AdamWConfig holds what is constant over a stage, in the words of
// torch.optim.AdamW.
type AdamWConfig struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float64 // added to the root of the bias-corrected second moment, > 0
	WeightDecay  float64 // decoupled: Value *= 1 - lr*WeightDecay, >= 0

	// Parallel calls body(0) ... body(n-1), in any order and on any number of
	// threads, and returns when all have returned. Nil means one after another.
	Parallel func(n int, body func(i int))
}

// AdamW is "Decoupled Weight Decay Regularization" (Loshchilov and Hutter,
// 2019) as torch.optim.AdamW computes it. It is not safe for concurrent use.
type AdamW struct {
	params []Param
	cfg    AdamWConfig
	m, v   [][]float32 // first and second moment of each parameter
	step   [1]float32  // optimizer steps taken, a tensor as in PyTorch

	chunks  []chunk
	squares []float64 // sum of squared gradients of each chunk
	update  vec.AdamW // the step in progress

	// Method values made once, because making one allocates.
	updateBody, squareBody func(i int)
}

// chunk is Value[lo:hi] of one parameter.
type chunk struct{ param, lo, hi int }

// chunkLen is 64 KiB of each of the four streams: enough work for a call, and
// the streams of a chunk fit a core's L2 cache. It is part of what defines the
// order of sums, so changing it changes the last bits of every run.
const chunkLen = 1 << 14

// NewAdamW returns an optimizer with zero moments for the given parameters. It
// fails on a parameter without a unique name, on a Grad whose length is not
// Value's, and on coefficients out of range.
func NewAdamW(params []Param, cfg AdamWConfig) (*AdamW, error) {
	for _, c := range []struct {
		name  string
		value float64
		ok    bool
	}{
		{"beta1", cfg.Beta1, cfg.Beta1 >= 0 && cfg.Beta1 < 1},
		{"beta2", cfg.Beta2, cfg.Beta2 >= 0 && cfg.Beta2 < 1},
		{"eps", cfg.Eps, cfg.Eps > 0 && !math.IsInf(cfg.Eps, 0)},
		{"weight_decay", cfg.WeightDecay, cfg.WeightDecay >= 0 && !math.IsInf(cfg.WeightDecay, 0)},
	} {
		if !c.ok {
			return nil, fmt.Errorf("optim: AdamW: %s is %v: betas must be in [0, 1), eps positive, weight_decay not negative", c.name, c.value)
		}
	}
	if cfg.Parallel == nil {
		cfg.Parallel = inOrder
	}
	o := &AdamW{
		params: append([]Param(nil), params...),
		cfg:    cfg,
		m:      make([][]float32, len(params)),
		v:      make([][]float32, len(params)),
	}
	seen := make(map[string]bool, len(params))
	for i, p := range params {
		if p.Name == "" || seen[p.Name] {
			return nil, fmt.Errorf("optim: AdamW: parameter %d: name %q is empty or taken", i, p.Name)
		}
		seen[p.Name] = true
		if len(p.Grad) != len(p.Value) {
			return nil, fmt.Errorf("optim: AdamW: %s: gradient has %d elements, the parameter %d", p.Name, len(p.Grad), len(p.Value))
		}
		o.m[i] = make([]float32, len(p.Value))
		o.v[i] = make([]float32, len(p.Value))
		for lo := 0; lo < len(p.Value); lo += chunkLen {
			o.chunks = append(o.chunks, chunk{i, lo, min(lo+chunkLen, len(p.Value))})
		}
	}
	o.squares = make([]float64, len(o.chunks))
	o.updateBody, o.squareBody = o.updateChunk, o.squareChunk
	return o, nil
}

// Step updates every parameter from its gradient at the learning rate lr. With
// clip > 0 the gradients are taken as scaled to a global norm of at most clip,
// as torch.nn.utils.clip_grad_norm_ would (Grad itself is not written), and
// the norm before clipping is returned; without, the norm is not computed and
// 0 is returned.
//
// A norm that is Inf or NaN leaves weights and moments as they were, so that
// the caller can stop with the last good weights.
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

// Steps returns how many steps were taken, over all attempts of a stage.
func (o *AdamW) Steps() int { return int(o.step[0]) }

// State yields the optimizer's tensors by name: "optimizer.step" of one
// element, then "optimizer.m.<name>" and "optimizer.v.<name>", of the
// parameter's shape, for each parameter in order. The slices are the live
// ones: read them between steps.
func (o *AdamW) State() iter.Seq2[string, []float32] {
	return func(yield func(string, []float32) bool) {
		if !yield(StepName, o.step[:]) {
			return
		}
		for i, p := range o.params {
			if !yield(mPrefix+p.Name, o.m[i]) || !yield(vPrefix+p.Name, o.v[i]) {
				return
			}
		}
	}
}

// Load restores what State yielded. Lookup returns the tensor of a name, or
// nil. Nothing changes unless every tensor is there, has the right length and
// can be a state.
func (o *AdamW) Load(lookup func(name string) []float32) error {
	if err := CheckState(o.State(), lookup); err != nil {
		return err
	}
	for name, have := range o.State() {
		copy(have, lookup(name))
	}
	return nil
}

// CheckState says why what lookup gives cannot be loaded as the given state,
// which is of the same optimizer over the same parameters.
func CheckState(state iter.Seq2[string, []float32], lookup func(name string) []float32) error {
	for name, have := range state {
		data := lookup(name)
		if data == nil && len(have) > 0 {
			return fmt.Errorf("optim: the checkpoint lacks %s: it is not from this optimizer or network", name)
		}
		if len(data) != len(have) {
			return fmt.Errorf("optim: %s has %d elements in the checkpoint, %d here: the network differs", name, len(data), len(have))
		}
	}
	if s := float64(lookup(StepName)[0]); !(s >= 0) || s != math.Trunc(s) || math.IsInf(s, 0) {
		return fmt.Errorf("optim: optimizer.step is %v in the checkpoint, want a count", s)
	}
	return nil
}

func inOrder(n int, body func(i int)) {
	for i := range n {
		body(i)
	}
}

// StepName is the name of the count of steps in State.
const StepName = "optimizer.step"

// The names of a parameter's moments in State begin with these.
const (
	mPrefix = "optimizer.m."
	vPrefix = "optimizer.v."
)

// MomentNames are the names of a parameter's moments in State.
func MomentNames(param string) (m, v string) { return mPrefix + param, vPrefix + param }

// IsState says whether a tensor's name is one that State yields.
func IsState(name string) bool { return strings.HasPrefix(name, "optimizer.") }

// StateOf returns the parameter that a tensor of State belongs to, "" for the
// step.
func StateOf(name string) string {
	for _, prefix := range []string{mPrefix, vPrefix} {
		if p, ok := strings.CutPrefix(name, prefix); ok {
			return p
		}
	}
	return ""
}
