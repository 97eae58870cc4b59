package kernels

// CrossEntropy is the soft-target cross-entropy and its gradient in one pass,
// over samples First to First+B-1 of a batch of Batch: with p = softmax(logits),
//
//	loss    = Weight Σ -target · log p
//	dlogits = Weight (p Σ target - target)
//
// Weight 1/Batch makes it nn.CrossEntropyForward and -Backward with a dloss of
// 1. Targets are given as rows, or made from labels as datasets does: smoothed
// one-hot rows, mixed with those of the partner, as Patches mixes the images. A
// sample of label -1 has no part in the loss and a gradient of 0.
type CrossEntropy struct {
	T                        DType // of DLogits
	Batch, First, B, Classes int
	Weight                   float64

	Logits    Buffer  // [B, Classes] float32
	Targets   Buffer  // [B, Classes] float32; or, without it,
	Labels    Buffer  // [Batch] int32
	Mix       Buffer  // a Mix of each group; optional; with Labels
	Group     int     // images of a group, at least 1; with Mix
	Smoothing float64 // with Labels

	Loss       Buffer // one float32; optional
	DLogits    Buffer // [B, Classes] of T; optional
	Accumulate bool   // Loss
	Scratch    Buffer // of ScratchBytes; needed with Loss
}

// ScratchBytes returns the size of Scratch.
func (k CrossEntropy) ScratchBytes() int { return k.B * 4 }

// Launches returns the launches of the kernel.
func (k CrossEntropy) Launches() []Launch {
	off := k.Smoothing / float64(k.Classes)
	rows := k.Scratch
	if k.Loss.IsNull() {
		rows = Buffer{}
	}
	launches := []Launch{launch("cross_entropy", k.T, ceil(k.B, lossWarps), 32*lossWarps,
		Ptr(k.DLogits), Ptr(rows), Ptr(k.Logits), Ptr(k.Targets), Ptr(k.Labels), Ptr(k.Mix),
		I32(k.Batch), I32(max(1, k.Group)), I32(k.First), I32(k.B), I32(k.Classes), Float(1-k.Smoothing+off), Float(off), Float(k.Weight))}
	if !k.Loss.IsNull() {
		launches = append(launches, sumVector(k.Loss, rows, k.B, k.Weight, k.Accumulate))
	}
	return launches
}

// Score is nn.Score: from logits [b, classes] float32 the cross-entropy of each
// sample and 1 or 0 as the largest logit, the first of equals, is at the
// target; both [b] float32 and optional. Targets are rows [b, classes] float32
// or, where that is null, labels [b] int32; a sample of label -1 scores 0 and
// 0, and one with a logit that is not a number is wrong.
func Score(b, classes int, loss, correct, logits, targets, labels Buffer) Launch {
	return Launch{
		Kernel: "score",
		Grid:   dim(ceil(b, lossWarps)),
		Block:  dim(32 * lossWarps),
		Args:   []Arg{Ptr(loss), Ptr(correct), Ptr(logits), Ptr(targets), Ptr(labels), I32(b), I32(classes)},
	}
}

// lossWarps is the number of samples of a block: a warp takes one.
const lossWarps = 4

// L1 is the L1 loss and its gradient in one pass, over N elements:
//
//	loss = Weight Σ |x - y|
//	dx   = Weight sign(x - y)
//
// Weight 1/N makes it nn.L1Forward and nn.L1Backward with a dloss of 1.
type L1 struct {
	T      DType
	N      int
	Weight float64

	X, Y       Buffer // [N] of T
	Loss       Buffer // one float32; optional
	DX         Buffer // [N] of T; may be X or Y; optional
	Accumulate bool   // Loss
	Scratch    Buffer // of ScratchBytes; needed with Loss
}

const l1Threads = 256

func (k L1) blocks() int { return min(ceil(k.N, 8*l1Threads), 4*multiprocessors) }

// ScratchBytes returns the size of Scratch.
func (k L1) ScratchBytes() int { return k.blocks() * 4 }

// Launches returns the launches of the kernel.
func (k L1) Launches() []Launch {
	partial := k.Scratch
	if k.Loss.IsNull() {
		partial = Buffer{}
	}
	launches := []Launch{launch("l1", k.T, k.blocks(), l1Threads, Ptr(k.DX), Ptr(partial), Ptr(k.X), Ptr(k.Y), I64(k.N), Float(k.Weight))}
	if !k.Loss.IsNull() {
		launches = append(launches, sumVector(k.Loss, partial, k.blocks(), k.Weight, k.Accumulate))
	}
	return launches
}

// sumVector is y = weight Σ x over n float32, by one block.
func sumVector(y, x Buffer, n int, weight float64, accumulate bool) Launch {
	return Launch{
		Kernel: "sum_vector",
		Grid:   dim(1),
		Block:  dim(1024),
		Args:   []Arg{Ptr(y), Ptr(x), I32(n), Float(weight), Flag(accumulate)},
	}
}
