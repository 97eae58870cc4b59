package optim

import (
	"fmt"
	"iter"
	"math"
	"strings"
)

// Param is one trained tensor. Value and Grad are the caller's memory, of the
// same length, and keep their addresses as long as the optimizer lives.
type Param struct {
	Name  string // timm's name, e.g. "blocks.0.attn.qkv.weight"
	Value []float32
	Grad  []float32
	Decay bool // weight decay applies; DeiT: not to 1-D tensors, biases, pos_embed, cls_token
}

// Config holds what is constant over a stage, in the words of torch.optim.
type Config struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float64 // added to the root of the bias-corrected second moment, > 0
	WeightDecay  float64 // decoupled in AdamW, part of the update in LAMB, >= 0

	// Parallel calls body(0) ... body(n-1), in any order and on any number of
	// threads, and returns when all have returned. Nil means one after another.
	Parallel func(n int, body func(i int))
}

// Optimizer is what AdamW and LAMB are to their caller.
type Optimizer interface {
	// Step updates every parameter from its gradient at the learning rate lr
	// and returns the gradients' global norm, 0 where it was not needed. With
	// clip > 0 the gradients are taken as scaled to a global norm of at most
	// clip (Grad itself is not written).
	//
	// A norm that is Inf or NaN leaves weights and moments as they were, so
	// that the caller can stop with the last good weights.
	Step(lr, clip float64) (norm float64)
	// Steps returns how many steps were taken, over all attempts of a stage.
	Steps() int
	// State yields the optimizer's tensors by name: "optimizer.step" of one
	// element, then "optimizer.m.<name>" and "optimizer.v.<name>", of the
	// parameter's shape, for each parameter in order. The slices are the live
	// ones: read them between steps.
	State() iter.Seq2[string, []float32]
	// Load restores what State yielded. Lookup returns the tensor of a name,
	// or nil. Nothing changes unless every tensor is there, has the right
	// length and can be a state.
	Load(lookup func(name string) []float32) error
}

// Names of the optimizers, as a recipe has them.
const (
	NameAdamW = "adamw"
	NameLAMB  = "lamb"
)

// New returns the optimizer of the given name with zero moments. It fails on a
// parameter without a unique name, on a Grad whose length is not Value's, and
// on coefficients out of range.
func New(name string, params []Param, cfg Config) (Optimizer, error) {
	switch name {
	case NameAdamW:
		return NewAdamW(params, cfg)
	case NameLAMB:
		return NewLAMB(params, cfg)
	}
	return nil, fmt.Errorf("optim: no optimizer %q; there are %s and %s", name, NameAdamW, NameLAMB)
}

// moments is what Adam's family has in common: parameters, cut into chunks,
// with the decaying means of their gradients and of the gradients' squares.
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

// chunkLen is 64 KiB of each of the four streams: enough work for a call, and
// the streams of a chunk fit a core's L2 cache. It is part of what defines the
// order of sums, so changing it changes the last bits of every run.
const chunkLen = 1 << 14

// chunked appends the chunks of a parameter of n elements.
func chunked(to []chunk, param, n int) []chunk {
	for lo := 0; lo < n; lo += chunkLen {
		to = append(to, chunk{param, lo, min(lo+chunkLen, n)})
	}
	return to
}

// newMoments checks what New promises to; who names the optimizer in errors.
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

// Steps is documented at Optimizer.
func (o *moments) Steps() int { return int(o.step[0]) }

// State is documented at Optimizer.
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

// Load is documented at Optimizer.
func (o *moments) Load(lookup func(name string) []float32) error {
	if err := CheckState(o.State(), lookup); err != nil {
		return err
	}
	for name, have := range o.State() {
		copy(have, lookup(name))
	}
	return nil
}

// CheckState says why what lookup gives cannot be loaded as the given State.
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

// IsState says whether a tensor of a checkpoint is the state of an optimizer or
// an average rather than a weight.
func IsState(name string) bool {
	_, average := AverageOf(name)
	return average || strings.HasPrefix(name, "optimizer.")
}

// StateOf returns the parameter that a tensor of IsState belongs to, "" for the
// step.
func StateOf(name string) string {
	for _, prefix := range []string{mPrefix, vPrefix, averagePrefix} {
		if p, ok := strings.CutPrefix(name, prefix); ok {
			return p
		}
	}
	return ""
}
