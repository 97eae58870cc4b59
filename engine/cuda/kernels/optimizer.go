package kernels

import (
	"encoding/binary"
	"math"
)

// Optimizer holds the operands of AdamW and LAMB: all parameters of a learner, each tensor at
// its offset in flat buffers of one [Layout].
//
// A step reads the learning rate from Rate. It takes the gradients as scaled to
// a global norm of at most Clip. Where the loss or the norm is not finite, the
// step changes nothing but State, which then holds the step's number, and
// neither does any step after it.
type Optimizer struct {
	Layout Layout
	Chunks Buffer // Layout.Chunks
	Starts Buffer // Layout.Starts; for LAMB

	Params, M, V, Grad Buffer // [Layout.Elements] float32; Grad is only read
	Copy               Buffer // [Layout.Elements] bfloat16 of the new Params; optional
	EMA                Buffer // [Layout.Elements] float32; optional

	Rate    Buffer // one float64, the learning rate of this step
	Loss    Buffer // one float32, of this step; optional
	State   Buffer // StateBytes: see State
	Scratch Buffer // of ScratchBytes (AdamW) or LAMBScratchBytes

	Beta1, Beta2, Eps, WeightDecay float64
	Clip                           float64 // global norm at most; 0: any, and no norm is computed
	EMADecay                       float64 // ema = EMADecay ema + (1 - EMADecay) params, after the step
}

// AdamW is optim.AdamW's step: the norm of the gradients, what depends on it,
// and the update of all parameters in one launch.
func AdamW(o Optimizer) []Launch {
	return append(o.prepare(1e-6),
		o.launch("adamw", Ptr(o.Params), Ptr(o.M), Ptr(o.V), Ptr(o.Copy), Ptr(o.EMA), Ptr(o.Grad), Ptr(o.Chunks), Ptr(o.State),
			I64(o.Layout.Elements), Float(o.Beta1), Float(1-o.Beta1), Float(o.Beta2), Float(1-o.Beta2), Float(o.Eps), Float(1-o.EMADecay)))
}

// ScratchBytes returns the size of Scratch for AdamW.
func (o Optimizer) ScratchBytes() int { return (o.normBlocks()*8 + 15) &^ 15 }

// LAMB is the step of optim.LAMB: AdamW's moments with the update of each
// tensor that has weight decay scaled by its trust ratio |p| / |update|.
func LAMB(o Optimizer) []Launch {
	norms := o.Scratch.At(o.ScratchBytes())             // [chunks, 2]: Σ p², Σ update²
	trust := norms.At(o.Layout.Elements / chunkLen * 8) // [tensors]
	moments := o.launch("lamb_moments", Ptr(o.M), Ptr(o.V), Ptr(norms), Ptr(o.Params), Ptr(o.Grad), Ptr(o.Chunks), Ptr(o.State),
		Float(o.Beta1), Float(1-o.Beta1), Float(o.Beta2), Float(1-o.Beta2), Float(o.Eps), Float(o.WeightDecay))
	moments.Grid, moments.Block = dim(o.Layout.Elements/chunkLen), dim(chunkLen/4)
	return append(o.prepare(0), moments,
		Launch{Kernel: "lamb_trust", Grid: dim(len(o.Layout.Starts) - 1), Block: dim(256),
			Args: []Arg{Ptr(trust), Ptr(norms), Ptr(o.Starts), Ptr(o.Chunks), Ptr(o.State), Float(o.WeightDecay)}},
		o.launch("lamb_update", Ptr(o.Params), Ptr(o.Copy), Ptr(o.EMA), Ptr(o.M), Ptr(o.V), Ptr(trust), Ptr(o.Chunks), Ptr(o.State),
			I64(o.Layout.Elements), Float(o.Eps), Float(o.WeightDecay), Float(1-o.EMADecay)))
}

// LAMBScratchBytes returns the size of Scratch for LAMB.
func (o Optimizer) LAMBScratchBytes() int {
	return o.ScratchBytes() + o.Layout.Elements/chunkLen*8 + len(o.Layout.Starts)*4
}

const optimizerThreads = 256

// normBlocks is the grid of the norm's first launch.
func (o Optimizer) normBlocks() int {
	return min(ceil(o.Layout.Elements, 4*optimizerThreads), 8*multiprocessors)
}

// launch is a launch of a thread for each 4 elements.
func (o Optimizer) launch(kernel string, args ...Arg) Launch {
	return Launch{Kernel: kernel, Grid: dim(ceil(o.Layout.Elements, 4*optimizerThreads)), Block: dim(optimizerThreads), Args: args}
}

// prepare computes the norm of the gradients and from it, the loss and the
// learning rate what the update reads from State. Gradients are scaled by
// Clip / (norm + normEps): torch's clipping has an epsilon, LAMB's has none.
func (o Optimizer) prepare(normEps float64) []Launch {
	var launches []Launch
	partial := Buffer{}
	if o.Clip > 0 {
		partial = o.Scratch
		launches = append(launches, Launch{Kernel: "squares", Grid: dim(o.normBlocks()), Block: dim(optimizerThreads),
			Args: []Arg{Ptr(partial), Ptr(o.Grad), I64(o.Layout.Elements)}})
	}
	return append(launches, Launch{Kernel: "optimizer_prepare", Grid: dim(1), Block: dim(optimizerThreads),
		Args: []Arg{Ptr(o.State), Ptr(partial), I32(o.normBlocks()), Ptr(o.Rate), Ptr(o.Loss),
			Double(o.Beta1), Double(o.Beta2), Double(o.WeightDecay), Double(o.Clip), Double(normEps)}})
}

// State is the optimizer's state on the device. The executor writes it before the first step
// and may read it after any step.
type State struct {
	Steps    int64   // optimizer steps taken
	Diverged int64   // number of the step, from 1, whose loss or norm was not finite; 0: none
	Norm     float64 // of the gradients of the last step, before clipping; 0 without Clip
}

// StateBytes is the size of a State on the device. Its three fields are followed by data of
// the kernels.
const StateBytes = 64

// Put writes the state as the device reads it.
func (s State) Put(b []byte) {
	clear(b[:StateBytes])
	binary.LittleEndian.PutUint64(b, uint64(s.Steps))
	binary.LittleEndian.PutUint64(b[8:], uint64(s.Diverged))
	binary.LittleEndian.PutUint64(b[16:], math.Float64bits(s.Norm))
}

// ReadState reads what the device has written.
func ReadState(b []byte) State {
	return State{
		Steps:    int64(binary.LittleEndian.Uint64(b)),
		Diverged: int64(binary.LittleEndian.Uint64(b[8:])),
		Norm:     math.Float64frombits(binary.LittleEndian.Uint64(b[16:])),
	}
}

// Layout gives the parameters of a learner offsets in flat buffers: each begins at a multiple
// of a chunk of 256 elements, and the elements between two are always 0 in all buffers.
type Layout struct {
	Offsets  []int   // of each parameter, elements
	Elements int     // of a flat buffer
	Chunks   []int32 // of each chunk: twice the parameter's index, plus 1 if it has weight decay
	Starts   []int32 // the first chunk of each parameter, and the number of chunks
}

const chunkLen = 256

// NewLayout lays out parameters of the given sizes in order.
func NewLayout(sizes []int, decay []bool) Layout {
	var l Layout
	for i, n := range sizes {
		l.Offsets = append(l.Offsets, l.Elements)
		l.Starts = append(l.Starts, int32(len(l.Chunks)))
		entry := int32(2 * i)
		if decay[i] {
			entry++
		}
		for range ceil(n, chunkLen) {
			l.Chunks = append(l.Chunks, entry)
		}
		l.Elements = len(l.Chunks) * chunkLen
	}
	l.Starts = append(l.Starts, int32(len(l.Chunks)))
	return l
}
