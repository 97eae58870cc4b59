// Package lower turns a plan of package graph into a program for a GPU: kernel
// launches and matrix products over places in device memory, on streams. It is
// plain Go that needs no GPU; package cuda executes its programs.
//
// What it does, in the order of the files:
//
//   - params.go: places the parameters of a job in flat buffers.
//   - training.go: which values of a plan come from outside and
//     which go there.
//   - match.go: goes through a plan's steps, joins those that one kernel does,
//     and makes operations of them (operations.go). Each way of joining can be
//     switched off ([Options.Without]); what is left is step for step the plan.
//   - streams.go: puts what only one learner needs on a stream of its own.
//   - place.go: gives every value a place, and proves that none is overwritten
//     while it is needed.
package lower

import (
	"fmt"
	"slices"
	"strings"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
)

// Region is an allocation of device memory: the ID of a kernels.Buffer.
type Region = int32

const (
	_         Region = iota // null
	Arena                   // of a program: intermediate values and scratch
	Master                  // float32 parameters (Params)
	Copies                  // their bfloat16 copies, element for element; absent in float32
	Grads                   // Params.GradElements float32; 0 in the beginning
	Moment1                 // Params.Trained float32: the optimizer's first moments
	Moment2                 // and its second
	EMA                     // Params.Trained float32: moving averages of the parameters, where they are kept
	EMACopies               // their bfloat16 copies, made before an evaluation; absent in float32
	Tables                  // Params.TableBytes: how the parameters lie, for the optimizer
	Input                   // of a program: what a batch brings (Program.Inputs)
	Results                 // of a program: what a step or an evaluation leaves (Program.Results)
	Outside                 // the first that a program does not know: the executor's own
)

// Value is something that a program computes or is given.
type Value struct {
	DType    kernels.DType
	Elements int
	Name     string // of what is not in the arena; otherwise empty
	At       kernels.Buffer

	stream      int  // that writes it
	first, last int  // operations that write it and that read it last
	whole       bool // is read on another stream, or by another pass: never gives up its place
}

// Bytes returns the value's size.
func (v *Value) Bytes() int64 { return int64(v.Elements) * int64(v.DType.Size()) }

// buffer returns the value's place; that of no value is null.
func (v *Value) buffer() kernels.Buffer {
	if v == nil {
		return kernels.Buffer{}
	}
	return v.At
}

// Operation is one piece of work on one stream: one launch, or a few that
// belong together.
type Operation struct {
	Name    string
	Stream  int
	In, Out []*Value // nil where a kernel's input or output is not wanted
	copied  []*Value // of In: parameters whose bfloat16 copies it reads
	scratch int64    // bytes it needs while it runs
	emit    func(e *emitter)

	owner int // learner that alone needs it, or shared
	macs  int64
}

// Bytes is what the operation has to read and to write: each of its values once.
func (o *Operation) Bytes() int64 {
	seen := map[*Value]bool{nil: true}
	var n int64
	for _, v := range slices.Concat(o.In, o.Out) {
		if !seen[v] {
			seen[v] = true
			n += o.bytes(v)
		}
	}
	return n
}

// bytes returns how much the operation moves of a value.
func (o *Operation) bytes(v *Value) int64 {
	if slices.Contains(o.copied, v) {
		return int64(v.Elements) * int64(kernels.BF16.Size())
	}
	return v.Bytes()
}

// FLOPs returns the floating-point operations of its matrix products.
func (o *Operation) FLOPs() int64 { return 2 * o.macs }

// Command is one entry of a program. It is exactly one of its last four fields.
type Command struct {
	Stream    int
	Operation *Operation // whose work it is; nil for events and what follows the last pass: the optimizer

	Launch  *kernels.Launch
	Product *Product
	Record  int // number of an event, from 1
	Wait    int // number of an event, from 1
}

// Product is a matrix product with the places of its matrices.
//
// The GELU of its epilogues is cuBLAS's, by tanh, which differs from the exact
// one by at most 5e-4: less than what bfloat16 keeps of values near 1.
type Product struct {
	blas.Gemm
	In  [2]kernels.Buffer // a and b
	Out kernels.Buffer    // d
	// Bias [N], or where the epilogue sums, the sums; Aux [M, N], what a GELU
	// is of. Each is null if the epilogue has none.
	Bias, Aux kernels.Buffer
}

// Fusion is a way of joining steps.
type Fusion uint16

// The fusions. Those that are a product's epilogue are not used either where
// Options.Supports refuses the product.
const (
	ResidualNorm   Fusion = 1 << iota // residual, then layer_norm
	NormResidual                      // layer_norm_backward, then add and scale_samples
	LinearBias                        // linear's bias in the product's epilogue
	LinearGELU                        // gelu, and its gradient, in the epilogue
	WeightBiasGrad                    // column_sum in the product of linear_dw
	LossGradient                      // a loss and its gradient
	AllFusions     = 1<<iota - 1
)

// Program is work for a device with all memory placed.
type Program struct {
	Operations []*Operation // of one pass
	Commands   []Command    // of all passes and, in training, of the optimizer
	Streams    int          // stream 0 begins and ends everything
	Events     int

	ArenaBytes  int64
	Inputs      []Slot // where the parts of a batch lie in region Input
	InputBytes  int64
	Results     []Slot // where losses and what was asked for lie in region Results
	ResultBytes int64
	MACs        int64 // multiply-accumulates of matrix products and attention, all passes

	params  *Params
	values  []*Value // in the arena
	scratch []*Value // of each stream
	passes  int
}

// Slot is a named part of a region.
type Slot struct {
	Name   string
	Offset int64
	Bytes  int64
}

// slot returns the part of the given name, or a zero Slot.
func slot(slots []Slot, name string) Slot {
	for _, s := range slots {
		if s.Name == name {
			return s
		}
	}
	return Slot{}
}

// Input returns the part of a batch of that name; its Bytes are 0 if the program
// does not read it.
func (p *Program) Input(name string) Slot { return slot(p.Inputs, name) }

// Result returns the result of that name; its Bytes are 0 if there is none.
func (p *Program) Result(name string) Slot { return slot(p.Results, name) }

// Products returns the different matrix products in the program.
func (p *Program) Products() []blas.Gemm {
	seen := map[blas.Gemm]bool{}
	var all []blas.Gemm
	for _, c := range p.Commands {
		if c.Product != nil && !seen[c.Product.Gemm] {
			seen[c.Product.Gemm] = true
			all = append(all, c.Product.Gemm)
		}
	}
	return all
}

// String writes the operations of a pass, one a line: its stream, its name and
// the values that it reads and writes, numbered in the order of writing.
func (p *Program) String() string {
	numbers := map[*Value]string{}
	for _, o := range p.Operations {
		for _, v := range o.Out {
			if v != nil && v.Name == "" {
				numbers[v] = fmt.Sprintf("%%%d", len(numbers))
			}
		}
	}
	list := func(values []*Value) string {
		var names []string
		for _, v := range values {
			switch {
			case v == nil:
				names = append(names, "-")
			case v.Name != "":
				names = append(names, v.Name)
			default:
				names = append(names, numbers[v])
			}
		}
		return strings.Join(names, " ")
	}
	var b strings.Builder
	for _, o := range p.Operations {
		fmt.Fprintf(&b, "%d %s: %s -> %s\n", o.Stream, o.Name, list(o.In), list(o.Out))
	}
	return b.String()
}

// Options say how a plan is lowered.
type Options struct {
	T        kernels.DType        // of activations, their gradients and the weights that products read
	Without  Fusion               // not to be used
	Batch    int                  // images of a step or an evaluation, over all passes
	Supports func(blas.Gemm) bool // whether a product with its epilogue can be had; nil: any
	Pixels   *Pixels              // batches come as bytes; nil: as float32 images and targets
	Keep     []*graph.Node        // further values to be found in Results, under their numbers
}

// Pixels says how images that come as bytes become a network's input, as
// package datasets does it.
type Pixels struct {
	Mean, Std []float32 // of each channel, of pixels from 0 to 1
	Smoothing float64   // of labels
	Erase     bool      // random erasing is on
	MixBatch  int       // images that are mixed with one another; 0: those of a batch
}
