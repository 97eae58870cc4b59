package optim

import (
	"fmt"
	"iter"
	"math"
	"strings"
)

// Param is one trained tensor. Value and Grad are the caller's memory, have the same
// length, and must keep their addresses as long as the optimizer is used.
type Param struct {
	Name  string // timm's name, e.g. "blocks.0.attn.qkv.weight"
	Value []float32
	Grad  []float32
	Decay bool // whether weight decay applies; DeiT excludes 1-D tensors, pos_embed and cls_token
}

// Config holds settings that are constant over a stage, named as in torch.optim.
type Config struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float64 // added to the root of the bias-corrected second moment, > 0
	WeightDecay  float64 // decoupled in AdamW, part of the update in LAMB, >= 0

	// Parallel calls body(0) ... body(n-1), in any order and on any number of
	// threads, and returns when all have returned. Nil means in order, on one thread.
	Parallel func(n int, body func(i int))
}

// Optimizer is implemented by AdamW and LAMB.
type Optimizer interface {
	// Step updates every parameter from its gradient at the learning rate lr and
	// returns the global norm of the gradients, or 0 if it was not computed. With
	// clip > 0 the update uses gradients scaled to a global norm of at most clip;
	// Grad itself is not changed.
	//
	// If the norm is infinite or NaN, weights and moments stay unchanged, so that the
	// caller can stop with the last good weights.
	Step(lr, clip float64) (norm float64)
	// Steps returns the number of steps taken, over all attempts of a stage.
	Steps() int
	// State yields the optimizer's tensors by name: "optimizer.step" of one
	// element, then "optimizer.m.<name>" and "optimizer.v.<name>", of the
	// parameter's shape, for each parameter in order. The slices are the live
	// ones: read them between steps.
	State() iter.Seq2[string, []float32]
	// Load restores what State yielded. lookup returns the tensor of a name, or nil.
	// Load changes nothing unless every tensor exists, has the right length and is
	// valid.
	Load(lookup func(name string) []float32) error
}

// Names of the optimizers in a recipe.
const (
	NameAdamW = "adamw"
	NameLAMB  = "lamb"
)

// New returns the optimizer of the given name with zero moments. It returns an error if a
// parameter has no unique name, if the lengths of Grad and Value differ, or if a
// coefficient is out of range.
func New(name string, params []Param, cfg Config) (Optimizer, error) {
	switch name {
	case NameAdamW:
		return NewAdamW(params, cfg)
	case NameLAMB:
		return NewLAMB(params, cfg)
	}
	return nil, fmt.Errorf("optim: no optimizer is named %q; there are %s and %s", name, NameAdamW, NameLAMB)
}

// moments is the common part of AdamW and LAMB: parameters, cut into chunks, with the
// decaying means of their gradients and of the gradients' squares.
type moments struct {
	params []Param
	cfg    Config
	m, v   [][]float32 // first and second moment of each parameter
	step   [1]float32  // optimizer steps taken, a tensor as in PyTorch

	chunks     []chunk
	squares    []float64   // sum of squared gradients of each chunk
	squareBody func(i int) // a method value, made once because making one allocates
}

// chunk is Value[lo:hi] of one parameter.
type chunk struct{ param, lo, hi int }

// chunkLen is 64 KiB of each of the four arrays: enough work for one call, while the four
// parts fit into a core's L2 cache. It determines the order of sums, so changing it
// changes the last bits of every run.
const chunkLen = 1 << 14

// chunked appends the chunks of a parameter of n elements.
func chunked(to []chunk, param, n int) []chunk {
	for lo := 0; lo < n; lo += chunkLen {
		to = append(to, chunk{param, lo, min(lo+chunkLen, n)})
	}
	return to
}

// newMoments makes the checks that New documents; who names the optimizer in errors.
func newMoments(who string, params []Param, cfg Config) (moments, error) {
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
			return moments{}, fmt.Errorf("optim: %s: %s is %v: betas must be in [0, 1), eps positive, weight_decay not negative", who, c.name, c.value)
		}
	}
	if cfg.Parallel == nil {
		cfg.Parallel = inOrder
	}
	o := moments{
		params: append([]Param(nil), params...),
		cfg:    cfg,
		m:      make([][]float32, len(params)),
		v:      make([][]float32, len(params)),
	}
	seen := make(map[string]bool, len(params))
	for i, p := range params {
		if p.Name == "" || seen[p.Name] {
			return moments{}, fmt.Errorf("optim: %s: parameter %d: name %q is empty or taken", who, i, p.Name)
		}
		seen[p.Name] = true
		if len(p.Grad) != len(p.Value) {
			return moments{}, fmt.Errorf("optim: %s: %s: gradient has %d elements, the parameter %d", who, p.Name, len(p.Grad), len(p.Value))
		}
		o.m[i] = make([]float32, len(p.Value))
		o.v[i] = make([]float32, len(p.Value))
		o.chunks = chunked(o.chunks, i, len(p.Value))
	}
	o.squares = make([]float64, len(o.chunks))
	return o, nil
}

// Steps implements Optimizer.
func (o *moments) Steps() int { return int(o.step[0]) }

// State implements Optimizer.
func (o *moments) State() iter.Seq2[string, []float32] {
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

// Load implements Optimizer.
func (o *moments) Load(lookup func(name string) []float32) error {
	if err := CheckState(o.State(), lookup); err != nil {
		return err
	}
	for name, have := range o.State() {
		copy(have, lookup(name))
	}
	return nil
}

// CheckState returns an error if the tensors that lookup returns cannot be loaded as the
// given state.
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

// StepName is the name of the step count in State.
const StepName = "optimizer.step"

// The names of a parameter's moments in State begin with these.
const (
	mPrefix = "optimizer.m."
	vPrefix = "optimizer.v."
)

// MomentNames returns the names of a parameter's moments in State.
func MomentNames(param string) (m, v string) { return mPrefix + param, vPrefix + param }

// IsState reports whether a tensor of a checkpoint belongs to the state of an optimizer or
// an EMA rather than being a weight.
func IsState(name string) bool {
	_, ema := EMAOf(name)
	return ema || strings.HasPrefix(name, "optimizer.")
}

// StateOf returns the parameter to which a state tensor belongs, "" for the step count.
func StateOf(name string) string {
	for _, prefix := range []string{mPrefix, vPrefix, emaPrefix} {
		if p, ok := strings.CutPrefix(name, prefix); ok {
			return p
		}
	}
	return ""
}
