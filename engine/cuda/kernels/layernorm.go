package kernels

import "fmt"

// LayerNorm is nn.LayerNormForward, with the residual addition before it if
// Branch is set:
//
//	sum = x + scale[sample] branch      rounded to T
//	y   = (sum - mean) / sqrt(var + Eps) * gamma + beta
//
// Without Branch, sum is x. Statistics are those of the rounded sum, so that
// the fused kernel gives the bits of Residual followed by LayerNorm.
type LayerNorm struct {
	T           DType
	Rows, Width int
	Eps         float64

	X           Buffer // [Rows, Width] of T
	Gamma, Beta Buffer // [Width] float32
	Y           Buffer // [Rows, Width] of T; optional: only the statistics
	Stats       Buffer // [Rows, 2] float32, mean and 1/sqrt(var + Eps); optional

	Branch        Buffer // [Rows, Width] of T; optional
	Scale         Buffer // [Rows/RowsPerSample] float32, drop path's 0 or 1/keep; optional: 1
	RowsPerSample int    // tokens of a sample; needed with Scale
	Sum           Buffer // [Rows, Width] of T; needed with Branch; may be X or Branch
}

// Launch returns the launch of the kernel.
func (k LayerNorm) Launch() Launch {
	v := layerNormVariant(k.T, k.Width)
	rows := 1 // of a block at once
	if v.lanes > 0 {
		rows = layerNormThreads / v.lanes
	}
	return launch("layer_norm_"+v.name, k.T, min(ceil(k.Rows, rows), 16*multiprocessors), layerNormThreads,
		Ptr(k.Y), Ptr(k.Stats), Ptr(k.Sum), Ptr(k.X), Ptr(k.Branch), Ptr(k.Scale), Ptr(k.Gamma), Ptr(k.Beta),
		I32(k.Rows), I32(k.Width), I32(max(1, k.RowsPerSample)), Float(k.Eps))
}

// LayerNormBackward is nn.LayerNormBackward, fused with what surrounds it in a
// residual network:
//
//	dx      = gradient through the normalisation + residual      rounded to T
//	dbranch = scale[sample] dx                                    (nn.ScaleSamples)
//
// and dgamma, dbeta. X is what was normalised: LayerNorm's Sum.
type LayerNormBackward struct {
	T           DType
	Rows, Width int

	X, DY    Buffer // [Rows, Width] of T
	Stats    Buffer // [Rows, 2] float32
	Gamma    Buffer // [Width] float32
	Residual Buffer // [Rows, Width] of T, what reaches X past the normalisation; optional

	DX            Buffer // [Rows, Width] of T; may be DY or Residual; optional
	DBranch       Buffer // [Rows, Width] of T; optional; needs DX
	Scale         Buffer // [Rows/RowsPerSample] float32; needed with DBranch
	RowsPerSample int    // needed with DBranch

	DGamma, DBeta Buffer // [Width] float32, both or neither
	Accumulate    bool
	Scratch       Buffer // of ScratchBytes; needed with DGamma
}

// ScratchBytes returns the size of Scratch.
func (k LayerNormBackward) ScratchBytes() int {
	if k.DGamma.IsNull() {
		return 0
	}
	return layerNormVariant(k.T, k.Width).blocks(k.Rows) * 2 * k.Width * 4
}

// Launches returns the launches of the kernel.
func (k LayerNormBackward) Launches() []Launch {
	v := layerNormVariant(k.T, k.Width)
	blocks := v.blocks(k.Rows)
	l := launch("layer_norm_backward_"+v.name, k.T, blocks, v.threads,
		Ptr(k.DX), Ptr(k.DBranch), Ptr(k.Scratch), Ptr(k.X), Ptr(k.DY), Ptr(k.Residual), Ptr(k.Stats), Ptr(k.Gamma), Ptr(k.Scale),
		I32(k.Rows), I32(k.Width), I32(max(1, k.RowsPerSample)))
	if k.DGamma.IsNull() {
		l.Args[2] = Ptr(Buffer{})
		return []Launch{l}
	}
	if v.lanes > 0 {
		// dgamma and dbeta of each warp.
		l.Shared = uint32(v.threads / 32 * 2 * k.Width * 4)
	}
	return []Launch{l, reduceRows(k.Scratch, blocks, 2, k.Width, k.Width, k.Accumulate, k.DGamma, k.DBeta)}
}

// multiprocessors is what grids that loop over their work are made for: an H100
// or H200. It is a constant and not the card's own number, because it decides
// the order of sums.
const multiprocessors = 132

// layerNormThreads is the size of the forward kernel's blocks.
const layerNormThreads = 128

// variant is one instance of the LayerNorm kernels.
type variant struct {
	name     string
	lanes    int // of a warp that share a row; 0: the plain variant, a row at a time by a whole block
	threads  int // of a block of the backward kernel
	resident int // blocks of the backward kernel that a multiprocessor's registers hold
}

// layerNormVariant chooses the instance for a width: lanes x vectors x elements
// of a vector, enough to hold a row in registers, with vectors of 16 bytes of
// bfloat16 where rows are aligned to them.
func layerNormVariant(t DType, width int) variant {
	for _, v := range []struct {
		lanes, vectors, elements, threads, resident int
		f32                                         bool // exists for float32 too
	}{
		{8, 3, 8, 256, 2, true},
		{32, 3, 8, 256, 2, false},
		{32, 5, 8, 128, 3, false},
		{32, 5, 4, 256, 2, true},
	} {
		if width%v.elements == 0 && width <= v.lanes*v.vectors*v.elements && (t == BF16 || v.f32) {
			return variant{fmt.Sprintf("%dx%dx%d", v.lanes, v.vectors, v.elements), v.lanes, v.threads, v.resident}
		}
	}
	return variant{"plain", 0, 128, 8}
}

// blocks is the grid of the backward kernel: all blocks run at once, because
// the more there are, the more sums are left for the second launch.
func (v variant) blocks(rows int) int {
	atOnce := 1
	if v.lanes > 0 {
		atOnce = v.threads / v.lanes
	}
	return min(ceil(rows, atOnce), v.resident*multiprocessors)
}
