package optim

import (
	"fmt"
	"iter"
	"strings"
)

// Average is an exponential moving average of weights, as timm's ModelEma and
// so DeiT and MAE keep it: it starts as the weights are, and every Update
// makes it decay*average + (1-decay)*weights. It is not safe for concurrent use.
type Average struct {
	params     []Param
	values     [][]float32
	decay      float64
	chunks     []chunk
	parallel   func(n int, body func(i int))
	updateBody func(i int) // a method value, made once because making one allocates
}

// NewAverage returns the average of the parameters in values, the caller's
// memory, which it sets to the parameters' own. Decay must be in (0, 1).
// Parallel is that of Config.
func NewAverage(params []Param, values [][]float32, decay float64, parallel func(n int, body func(i int))) (*Average, error) {
	if !(decay > 0 && decay < 1) {
		return nil, fmt.Errorf("optim: average of weights: decay is %v, it must be above 0 and below 1", decay)
	}
	if len(values) != len(params) {
		return nil, fmt.Errorf("optim: average of weights: %d parameters and storage for %d", len(params), len(values))
	}
	if parallel == nil {
		parallel = inOrder
	}
	a := &Average{params: params, values: values, decay: decay, parallel: parallel}
	for i, p := range params {
		if len(values[i]) != len(p.Value) {
			return nil, fmt.Errorf("optim: average of weights: %s: the average has %d elements, the parameter %d", p.Name, len(values[i]), len(p.Value))
		}
		copy(values[i], p.Value)
		a.chunks = chunked(a.chunks, i, len(p.Value))
	}
	a.updateBody = a.updateChunk
	return a, nil
}

// Update takes the weights as they are after a step into the average.
func (a *Average) Update() { a.parallel(len(a.chunks), a.updateBody) }

func (a *Average) updateChunk(i int) {
	c := a.chunks[i]
	value := a.params[c.param].Value[c.lo:c.hi]
	for j, avg := range a.values[c.param][c.lo:c.hi] {
		a.values[c.param][c.lo+j] = float32(a.decay*float64(avg) + (1-a.decay)*float64(value[j]))
	}
}

// State yields "ema.<name>", of the parameter's shape, for each parameter in
// order. The slices are the live ones.
func (a *Average) State() iter.Seq2[string, []float32] {
	return func(yield func(string, []float32) bool) {
		for i, p := range a.params {
			if !yield(AverageName(p.Name), a.values[i]) {
				return
			}
		}
	}
}

// Load restores what State yielded; lookup returns the tensor of a name, or
// nil. Nothing changes unless every tensor is there and has the right length.
func (a *Average) Load(lookup func(name string) []float32) error {
	for name, have := range a.State() {
		if data := lookup(name); len(data) != len(have) {
			return fmt.Errorf("optim: %s has %d elements in the checkpoint, %d here: it was made without this average, or by another network", name, len(data), len(have))
		}
	}
	for name, have := range a.State() {
		copy(have, lookup(name))
	}
	return nil
}

const averagePrefix = "ema."

// AverageName is the name under which State yields the average of a parameter.
func AverageName(param string) string { return averagePrefix + param }

// AverageOf returns the parameter whose average a tensor of a checkpoint is.
func AverageOf(name string) (param string, ok bool) { return strings.CutPrefix(name, averagePrefix) }
