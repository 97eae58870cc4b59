// Package kernels holds the CUDA kernels of the GPU engine and describes their
// launches.
//
// The sources (.cu, .cuh) are compiled once to PTX, which is committed beside
// them and embedded in binaries with GPU support; go generate writes it. The
// Go files need neither a GPU nor a build tag: a function or a type for each
// kernel says what it computes on which shapes and returns its launches as
// data, which an executor resolves to addresses, captures and replays.
//
// Conventions, unless a doc comment says otherwise:
//   - Values are row-major and dense. T is how activations and their gradients
//     are stored, [BF16] or [F32]; all arithmetic is in float32. Parameters
//     (LayerNorm's weight and bias, biases, cls_token, pos_embed), gradients
//     of parameters, statistics, logits and losses are float32 in either case.
//   - Every buffer begins at a multiple of 16 bytes. Buffers do not overlap,
//     unless documented that an output may be an input.
//   - The zero [Buffer] stands for an optional input or output that is not
//     used.
//   - Sums are taken in an order that depends on the sizes alone: a launch
//     gives the same bits every time, on every card. There are no atomics.
//   - What changes from step to step is read from device memory, never from an
//     argument: launches are captured once.
//   - With Accumulate, float32 sums (gradients of parameters, losses) are added
//     to what the output holds instead of replacing it.
package kernels

//go:generate ./generate.sh

import (
	"fmt"
	"math"
)

// DType is how values are stored on the device.
type DType uint8

const (
	// BF16 is bfloat16: the upper half of a float32, rounded to nearest even.
	BF16 DType = iota
	// F32 is float32.
	F32
)

// Size returns the number of bytes of an element.
func (t DType) Size() int {
	if t == BF16 {
		return 2
	}
	return 4
}

// String returns "bf16" or "f32", as in the names of kernels.
func (t DType) String() string {
	if t == BF16 {
		return "bf16"
	}
	return "f32"
}

// Buffer is an address on the device, which the executor resolves: Offset bytes after the
// beginning of allocation ID. The zero Buffer is the null pointer.
type Buffer struct {
	ID     int32
	Offset int64
}

// At returns the buffer that begins the given number of bytes later.
func (b Buffer) At(bytes int) Buffer {
	b.Offset += int64(bytes)
	return b
}

// IsNull reports whether the buffer is the null pointer.
func (b Buffer) IsNull() bool { return b.ID == 0 }

// ArgKind is the type of a kernel's parameter.
type ArgKind uint8

const (
	Pointer ArgKind = iota
	Int32
	Int64
	Float32
	Float64
)

// Size returns the number of bytes of a parameter.
func (k ArgKind) Size() int {
	if k == Pointer || k == Int64 || k == Float64 {
		return 8
	}
	return 4
}

// Arg is one argument: Buffer of a Pointer; otherwise the value's bits, in the
// low half of Bits where it has 4 bytes.
type Arg struct {
	Kind   ArgKind
	Buffer Buffer
	Bits   uint64
}

// Ptr returns a pointer argument.
func Ptr(b Buffer) Arg { return Arg{Kind: Pointer, Buffer: b} }

// I32 returns an int argument. It panics on a value that an int does not hold:
// a kernel is never launched with a size that was cut off.
func I32(v int) Arg {
	if v != int(int32(v)) {
		panic(fmt.Sprintf("kernels: %d does not fit a 32-bit parameter", v))
	}
	return Arg{Kind: Int32, Bits: uint64(uint32(v))}
}

// I64 returns a long long argument.
func I64(v int) Arg { return Arg{Kind: Int64, Bits: uint64(v)} }

// Float returns a float argument.
func Float(v float64) Arg {
	return Arg{Kind: Float32, Bits: uint64(math.Float32bits(float32(v)))}
}

// Double returns a double argument.
func Double(v float64) Arg { return Arg{Kind: Float64, Bits: math.Float64bits(v)} }

// Flag returns an int argument of 1 or 0.
func Flag(v bool) Arg {
	if v {
		return I32(1)
	}
	return I32(0)
}

// Launch is one kernel launch.
type Launch struct {
	Kernel      string    // name of the entry in the PTX
	Grid, Block [3]uint32 // blocks of the grid, threads of a block
	Shared      uint32    // dynamic shared memory of a block, bytes
	Args        []Arg     // in the order of the kernel's parameters
}

// launch returns a one-dimensional launch of the variant of a kernel for t.
func launch(kernel string, t DType, blocks, threads int, args ...Arg) Launch {
	return Launch{Kernel: kernel + "_" + t.String(), Grid: dim(blocks), Block: dim(threads), Args: args}
}

// dim returns the extent of a grid or block; axes that are left out are 1.
func dim(n ...int) [3]uint32 {
	d := [3]uint32{1, 1, 1}
	for i, n := range n {
		d[i] = uint32(n)
	}
	return d
}

// ceil returns a/b rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }
