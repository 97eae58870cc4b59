package kernels

// ColumnSum is nn.ColumnSum: y [Width] float32 is the sum of the rows of x.
type ColumnSum struct {
	T           DType
	Rows, Width int
	Y           Buffer // [Width] float32
	X           Buffer // [Rows, Width] of T
	Accumulate  bool
	Scratch     Buffer // of ScratchBytes
}

// ScratchBytes returns the size of Scratch.
func (k ColumnSum) ScratchBytes() int {
	_, chunks := columnGrid(k.Rows, k.Width, columnElements(k.Width))
	return chunks * k.Width * 4
}

// Launches returns the launches of the kernel.
func (k ColumnSum) Launches() []Launch {
	tiles, chunks := columnGrid(k.Rows, k.Width, columnElements(k.Width))
	l := launch("column_sum"+columnVariant(k.Width), k.T, tiles, 0, Ptr(k.Scratch), Ptr(k.X), I32(k.Rows), I32(k.Width))
	l.Grid, l.Block = dim(tiles, chunks), dim(32, columnWarps)
	return []Launch{l, reduceRows(k.Scratch, chunks, 1, k.Width, k.Width, k.Accumulate, k.Y, Buffer{})}
}

// columnWarps is how many rows a block of the column sums has in work at once.
const columnWarps = 8

// columnElements returns the number of neighbouring columns that a thread sums.
func columnElements(width int) int {
	if width%4 == 0 {
		return 4
	}
	return 1
}

func columnVariant(width int) string {
	if columnElements(width) == 4 {
		return "_x4"
	}
	return "_x1"
}

// columnGrid cuts a matrix for a sum of its rows: into tiles of columns, one
// for each warp's width of so many elements a thread, and chunks of rows so that
// there are enough blocks.
func columnGrid(rows, width, elements int) (tiles, chunks int) {
	tiles = ceil(width, 32*elements)
	return tiles, max(1, min(ceil(rows, 4*columnWarps), 8*multiprocessors/tiles))
}

// reduceRows sums partial [rows, outs, width] over its rows: out 0 and, if outs
// is 2, out 1, each the first n of width columns.
func reduceRows(partial Buffer, rows, outs, width, n int, accumulate bool, out0, out1 Buffer) Launch {
	return Launch{
		Kernel: "reduce_rows",
		Grid:   dim(ceil(n, 32), outs),
		Block:  dim(32, 32),
		Args:   []Arg{Ptr(out0), Ptr(out1), Ptr(partial), I32(rows), I32(width), I32(n), Flag(accumulate)},
	}
}
