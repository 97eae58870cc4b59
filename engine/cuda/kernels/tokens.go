package kernels

// Tokens is nn.TokensForward: y [b, n+1, c] of t from the patch tokens
// x [b, n, c] of t, cls [c] and pos [n+1, c], both float32.
func Tokens(t DType, b, n, c int, y, x, cls, pos Buffer) Launch {
	const threads = 256
	vectors := (n + 1) * c / columnElements(c)
	l := launch("tokens"+columnVariant(c), t, 0, threads, Ptr(y), Ptr(x), Ptr(cls), Ptr(pos), I32(b), I32(n), I32(c))
	l.Grid = dim(ceil(vectors, threads), min(b, 65535))
	return l
}

// TokensBackward is nn.TokensBackward.
type TokensBackward struct {
	T          DType
	B, N, C    int
	DY         Buffer // [B, N+1, C] of T
	DX         Buffer // [B, N, C] of T; optional
	DCls, DPos Buffer // [C] and [N+1, C] float32; each optional
	Accumulate bool   // DCls and DPos
	Scratch    Buffer // of ScratchBytes; needed with DCls or DPos
}

// ScratchBytes returns the size of Scratch.
func (k TokensBackward) ScratchBytes() int {
	if k.DCls.IsNull() && k.DPos.IsNull() {
		return 0
	}
	_, chunks := columnGrid(k.B, (k.N+1)*k.C, columnElements(k.C))
	return chunks * (k.N + 1) * k.C * 4
}

// Launches returns the launches of the kernel. A position's gradient is a column sum of
// dy as a matrix of B rows, and the class token's is that of position 0.
func (k TokensBackward) Launches() []Launch {
	width := (k.N + 1) * k.C
	tiles, chunks := columnGrid(k.B, width, columnElements(k.C))
	partial := k.Scratch
	if k.ScratchBytes() == 0 {
		partial = Buffer{}
	}
	l := launch("tokens_backward"+columnVariant(k.C), k.T, 0, 0, Ptr(k.DX), Ptr(partial), Ptr(k.DY), I32(k.B), I32(width), I32(k.C))
	l.Grid, l.Block = dim(tiles, chunks), dim(32, columnWarps)
	launches := []Launch{l}
	if !k.DPos.IsNull() {
		launches = append(launches, reduceRows(partial, chunks, 1, width, width, k.Accumulate, k.DPos, Buffer{}))
	}
	if !k.DCls.IsNull() {
		launches = append(launches, reduceRows(partial, chunks, 1, width, k.C, k.Accumulate, k.DCls, Buffer{}))
	}
	return launches
}

// ClassToken is nn.ClassToken: y [b, c] is token 0 of x [b, n, c].
func ClassToken(t DType, b, n, c int, y, x Buffer) Launch {
	const threads = 128
	return launch("class_token", t, ceil(b*c, threads), threads, Ptr(y), Ptr(x), I32(b), I32(n), I32(c))
}

// ClassTokenBackward is nn.ClassTokenBackward: dx [b, n, c] is dy [b, c] at
// token 0 and 0 elsewhere.
func ClassTokenBackward(t DType, b, n, c int, dx, dy Buffer) Launch {
	const threads = 256
	l := launch("class_token_backward"+columnVariant(c), t, 0, threads, Ptr(dx), Ptr(dy), I32(b), I32(n), I32(c))
	l.Grid = dim(ceil(n*c/columnElements(c), threads), min(b, 65535))
	return l
}
