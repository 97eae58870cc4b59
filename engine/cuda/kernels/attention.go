package kernels

import (
	"fmt"
	"math"
)

// Attention is nn.AttentionForward: out = softmax(q kᵀ / sqrt(D)) v for each
// head. The scores stay on the chip; with BF16 the products are those of the
// tensor cores.
//
// In BF16 a head's rows are loaded 16 bytes at a time if D is a multiple of 8,
// and otherwise number by number. D is at most [MaxHead].
type Attention struct {
	T          DType
	B, N, H, D int // samples, tokens, heads, width of a head

	QKV Buffer // [B, N, 3, H, D] of T
	Out Buffer // [B, N, H, D] of T
	LSE Buffer // [B, H, N] float32, logarithms of the softmax's sums, for the gradient; optional
}

// MaxHead is the greatest width of a head that there are BF16 kernels for.
const MaxHead = 96

// Sizes of the tensor-core kernels, as in attention.cuh. A row of a tile in
// shared memory has 8 numbers more than the kernel's width.
const (
	shortTokens = 80 // maximum tokens of a sequence for which one block processes a whole head
	stepTokens  = 64 // keys or queries of a step along a longer one
	tilePadding = 8
)

// Launch returns the launch of the kernel.
func (k Attention) Launch() Launch {
	a := attention(k)
	args := []Arg{Ptr(k.Out), Ptr(k.LSE), Ptr(k.QKV), I32(k.N), I32(k.D)}
	if k.T == F32 {
		return a.plain("attention", 1, args)
	}
	args = append(args, Float(a.scale()*math.Log2E))
	w := a.width()
	if a.short() {
		return a.tensor("attention_short", 1, ceil(k.N, 16), 3*shortTokens*(w+tilePadding)*2, args)
	}
	blocks, warps := a.split()
	return a.tensor("attention_long", blocks, warps, (16*warps+4*stepTokens)*(w+tilePadding)*2, args)
}

// AttentionBackward is nn.AttentionBackward, the gradient with respect to
// queries, keys and values. Up to 80 tokens and a width of 64 one block has a
// whole head; beyond that dq and then dk and dv are computed by kernels of
// their own, and the probabilities twice. Each number is written once.
type AttentionBackward struct {
	T          DType
	B, N, H, D int

	QKV, Out, LSE Buffer // of Attention; Out where ReadsOut
	DOut          Buffer // [B, N, H, D] of T
	DQKV          Buffer // [B, N, 3, H, D] of T
	Scratch       Buffer // of ScratchBytes
}

// ScratchBytes returns the size of Scratch.
func (k AttentionBackward) ScratchBytes() int {
	if k.T == BF16 && k.forward().short() {
		return 0
	}
	return 4 * k.B * k.H * k.N
}

// ReadsOut reports whether the kernels read Out. Those for a whole head and those in float32
// compute what they need from the probabilities.
func (k AttentionBackward) ReadsOut() bool { return k.T == BF16 && !k.forward().short() }

func (k AttentionBackward) forward() attention {
	return attention{T: k.T, B: k.B, N: k.N, H: k.H, D: k.D}
}

// Launches returns the launches of the kernel.
func (k AttentionBackward) Launches() []Launch {
	a := k.forward()
	sizes := []Arg{I32(k.N), I32(k.D)}
	key := append([]Arg{Ptr(k.DQKV), Ptr(k.QKV), Ptr(k.LSE), Ptr(k.Scratch), Ptr(k.DOut)}, sizes...)
	if k.T == F32 {
		query := append([]Arg{Ptr(k.DQKV), Ptr(k.Scratch), Ptr(k.QKV), Ptr(k.LSE), Ptr(k.DOut)}, sizes...)
		return []Launch{a.plain("attention_backward_query", 2, query), a.plain("attention_backward_key", 2, key)}
	}
	sizes = append(sizes, Float(a.scale()))
	row := 2 * (a.width() + tilePadding) // bytes
	if a.short() {
		// Of k and v, or of weights of all tokens by all tokens.
		room := max(row, 2*(shortTokens+tilePadding))
		args := append([]Arg{Ptr(k.DQKV), Ptr(k.QKV), Ptr(k.LSE), Ptr(k.DOut)}, sizes...)
		return []Launch{a.tensor("attention_backward_short", 1, shortTokens/16, shortTokens*(2*row+2*room), args)}
	}
	blocks, warps := a.split()
	shared := (2*16*warps + 4*stepTokens) * row
	query := append([]Arg{Ptr(k.DQKV), Ptr(k.Scratch), Ptr(k.QKV), Ptr(k.Out), Ptr(k.LSE), Ptr(k.DOut)}, sizes...)
	key = append(key, Float(a.scale()))
	return []Launch{
		a.tensor("attention_backward_query", blocks, warps, shared, query),
		a.tensor("attention_backward_key", blocks, warps, shared+2*2*stepTokens*4, key),
	}
}

// attention is what the forward and backward launches are derived from.
type attention Attention

// scale returns the factor of q kᵀ.
func (k attention) scale() float64 { return 1 / math.Sqrt(float64(k.D)) }

// short reports whether a block holds a whole head.
func (k attention) short() bool { return k.N <= shortTokens && k.D <= 64 }

// width returns the width of the kernels for a head: the smallest that is large enough. For
// short sequences there is only one.
func (k attention) width() int {
	if k.short() {
		return 64
	}
	for _, w := range []int{48, 64, 80, MaxHead} {
		if k.D <= w {
			return w
		}
	}
	panic(fmt.Sprintf("kernels: attention supports heads of at most %[2]d in bf16, not %[1]d", k.D, MaxHead))
}

// split divides the tokens of a long sequence among the blocks of a head, 16
// to a warp: as many warps a block as fit twice on a multiprocessor (of an H100;
// the backward pass of heads wider than 80 fits once on an A100), and fewer where
// that leaves fewer of them idle.
func (k attention) split() (blocks, warps int) {
	most, tiles := 8, ceil(k.N, 16)
	if k.width() > 64 {
		most = 6
	}
	for w := min(most, tiles); w >= min(4, tiles); w-- {
		if b := ceil(tiles, w); warps == 0 || b*w < blocks*warps {
			blocks, warps = b, w
		}
	}
	return blocks, warps
}

// tensor is a launch of a tensor-core kernel.
func (k attention) tensor(kernel string, blocks, warps, shared int, args []Arg) Launch {
	return Launch{
		Kernel: fmt.Sprintf("%s_%d_%v", kernel, k.width(), k.T), Grid: dim(blocks, k.H, k.B), Block: dim(32 * warps),
		Shared: uint32(shared), Args: args,
	}
}

// plain is a launch of a float32 kernel, in which a warp needs so many vectors
// over the tokens.
func (k attention) plain(kernel string, vectors int, args []Arg) Launch {
	return Launch{
		Kernel: kernel + "_" + k.T.String(), Grid: dim(ceil(k.N, 4), k.H, k.B), Block: dim(128),
		Shared: uint32(4 * vectors * k.N * 4), Args: append(args, Float(k.scale())),
	}
}
