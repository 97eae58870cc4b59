// Package lower turns a plan of package graph into a program for a GPU: kernel launches
// and matrix products on streams, over fixed offsets in device memory. It needs no GPU;
// package cuda executes its programs.
//
// The stages, by file:
//
//   - params.go lays out the parameters of a job in flat buffers.
//   - training.go determines the inputs and results of a program.
//   - match.go fuses steps of the plan that one kernel can do together and makes
//     operations of the steps (operations.go). Each fusion can be switched off
//     ([Options.Without]); without fusions, every step becomes an operation.
//   - streams.go gives each learner's own operations a stream.
//   - place.go gives every value an offset and checks that no value is overwritten
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
	Grads                   // Params.GradElements float32; initially 0
	Moment1                 // Params.Trained float32: the optimizer's first moments
	Moment2                 // likewise, its second moments
	EMA                     // Params.Trained float32: moving averages of the parameters, if there is an EMA
	EMACopies               // their bfloat16 copies, made before an evaluation; absent in float32
	Tables                  // Params.TableBytes: the layout of the parameters, for the optimizer
	Input                   // of a program: data of a batch (Program.Inputs)
	Results                 // of a program: results of a step or an evaluation (Program.Results)
	Outside                 // the number of regions
)

// Value is an input or a result of operations.
type Value struct {
	DType    kernels.DType
	Elements int
	Name     string // of a value outside the arena; otherwise empty
	At       kernels.Buffer

	stream      int  // of the operation that writes it
	first, last int  // the operation that writes it and the last one that reads it
	permanent   bool // another stream reads it, so its memory is not reused within a pass
}

// Bytes returns the size of the value.
func (v *Value) Bytes() int64 { return int64(v.Elements) * int64(v.DType.Size()) }

// buffer returns the value's buffer, or the null buffer if v is nil.
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
	In, Out []*Value // an element is nil if the kernel does not use that input or output
	copied  []*Value // elements of In: parameters of which it reads the bfloat16 copies
	scratch int64    // bytes of working space
	emit    func(e *emitter)

	owner int // the only learner that needs it, or shared
	macs  int64
}

// Bytes returns the number of bytes to read and write if each value is moved once.
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

// bytes returns the number of bytes that the operation moves for a value.
func (o *Operation) bytes(v *Value) int64 {
	if slices.Contains(o.copied, v) {
		return int64(v.Elements) * int64(kernels.BF16.Size())
	}
	return v.Bytes()
}

// FLOPs returns the number of floating-point operations in its matrix products.
func (o *Operation) FLOPs() int64 { return 2 * o.macs }

// Command is one entry of a program. Exactly one of the last four fields is set.
type Command struct {
	Stream    int
	Operation *Operation // to which it belongs; nil for events and for the work after a pass, such as the optimizer

	Launch  *kernels.Launch
	Product *Product
	Record  int // number of an event, from 1
	Wait    int // number of an event, from 1
}

// Product is a matrix product with the buffers of its matrices.
//
// The GELU of its epilogues is cuBLAS's approximation by tanh, which differs from the exact
// one by at most 5e-4: less than the rounding of bfloat16 near 1.
type Product struct {
	blas.Gemm
	In  [2]kernels.Buffer // a and b
	Out kernels.Buffer    // d
	// Bias is [N], or the sums of an epilogue that sums. Aux is [M, N], the input of
	// a GELU. Each is null if the epilogue has none.
	Bias, Aux kernels.Buffer
}

// Fusion is a way to fuse steps; its values are bits.
type Fusion uint16

// The fusions. Those that are epilogues of products are used only if Options.Supports
// accepts the product.
const (
	ResidualNorm   Fusion = 1 << iota // residual, then layer_norm
	NormResidual                      // layer_norm_backward, then add and scale_samples
	LinearBias                        // linear's bias in the product's epilogue
	LinearGELU                        // gelu, and its gradient, in the epilogue
	WeightBiasGrad                    // column_sum in the product of linear_dw
	LossGradient                      // a loss and its gradient
	AllFusions     = 1<<iota - 1
)

// Program is work for a device, with fixed offsets in memory.
type Program struct {
	Operations []*Operation // of one pass
	Commands   []Command    // of all passes and, in training, of the optimizer
	Streams    int          // all work begins and ends in stream 0
	Events     int

	ArenaBytes  int64
	Inputs      []Slot // the parts of region Input
	InputBytes  int64
	Results     []Slot // the parts of region Results
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

// Input returns the input of the given name, or a zero Slot if the program does not read
// it.
func (p *Program) Input(name string) Slot { return slot(p.Inputs, name) }

// Result returns the result of the given name, or a zero Slot if there is none.
func (p *Program) Result(name string) Slot { return slot(p.Results, name) }

// Products returns the distinct matrix products of the program.
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

// String lists the operations of a pass, one per line: the stream, the name and the values
// that it reads and writes. Values are numbered in the order in which they are written.
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

// Options are options for lowering a plan.
type Options struct {
	T        kernels.DType        // of activations, their gradients and the weights that products read
	Without  Fusion               // fusions not to use
	Batch    int                  // images in a step or an evaluation, over all passes
	Supports func(blas.Gemm) bool // whether a product with its epilogue is supported; nil: all are
	Pixels   *Pixels              // for batches of bytes; nil: batches are float32 images and targets
	Keep     []*graph.Node        // further values to be found in Results, under their numbers
}

// Pixels says how images of bytes are turned into a network's input. It does what package
// datasets does on the CPU.
type Pixels struct {
	Mean, Std []float32 // of each channel, of pixels from 0 to 1
	Smoothing float64   // of labels
	Erase     bool      // random erasing is on
	MixBatch  int       // number of images that are mixed with one another; 0: the batch
}
