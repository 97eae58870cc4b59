package optim

import (
	"fmt"
	"iter"
	"strings"
)

// EMA is an exponential moving average of weights, like timm's ModelEma, which DeiT and
// MAE use: it starts as a copy of the weights, and every Update sets it to
// decay*ema + (1-decay)*weights. It is not safe for concurrent use.
type EMA struct {
	params     []Param
	values     [][]float32
	decay      float64
	chunks     []chunk
	parallel   func(n int, body func(i int))
	updateBody func(i int) // a method value, made once because making one allocates
}

// NewEMA returns a moving average of params that is stored in values, the caller's memory,
// and copies the parameters there. decay must be in (0, 1). parallel is as in Config.
func NewEMA(params []Param, values [][]float32, decay float64, parallel func(n int, body func(i int))) (*EMA, error) {
	if !(decay > 0 && decay < 1) {
		return nil, fmt.Errorf("optim: EMA: decay is %v, it must be above 0 and below 1", decay)
	}
	if len(values) != len(params) {
		return nil, fmt.Errorf("optim: EMA: %d parameters and storage for %d", len(params), len(values))
	}
	if parallel == nil {
		parallel = inOrder
	}
	e := &EMA{params: params, values: values, decay: decay, parallel: parallel}
	for i, p := range params {
		if len(values[i]) != len(p.Value) {
			return nil, fmt.Errorf("optim: EMA: %s: the storage has %d elements, the parameter %d", p.Name, len(values[i]), len(p.Value))
		}
		copy(values[i], p.Value)
		e.chunks = chunked(e.chunks, i, len(p.Value))
	}
	e.updateBody = e.updateChunk
	return e, nil
}

// Update adds the current weights to the average. Call it after every step.
func (e *EMA) Update() { e.parallel(len(e.chunks), e.updateBody) }

func (e *EMA) updateChunk(i int) {
	c := e.chunks[i]
	value := e.params[c.param].Value[c.lo:c.hi]
	for j, avg := range e.values[c.param][c.lo:c.hi] {
		e.values[c.param][c.lo+j] = float32(e.decay*float64(avg) + (1-e.decay)*float64(value[j]))
	}
}

// State yields "ema.<name>", of the parameter's shape, for each parameter in
// order. The slices are the live ones.
func (e *EMA) State() iter.Seq2[string, []float32] {
	return func(yield func(string, []float32) bool) {
		for i, p := range e.params {
			if !yield(EMAName(p.Name), e.values[i]) {
				return
			}
		}
	}
}

// Load restores what State yielded. lookup returns the tensor of a name, or nil. Load
// changes nothing unless every tensor exists and has the right length.
func (e *EMA) Load(lookup func(name string) []float32) error {
	for name, have := range e.State() {
		if data := lookup(name); len(data) != len(have) {
			return fmt.Errorf("optim: %s has %d elements in the checkpoint, %d here: it was made without an EMA, or by another network", name, len(data), len(have))
		}
	}
	for name, have := range e.State() {
		copy(have, lookup(name))
	}
	return nil
}

const emaPrefix = "ema."

// EMAName returns the name under which State yields the moving average of a parameter.
func EMAName(param string) string { return emaPrefix + param }

// EMAOf returns the parameter whose moving average has the given name in a checkpoint.
func EMAOf(name string) (param string, ok bool) { return strings.CutPrefix(name, emaPrefix) }
