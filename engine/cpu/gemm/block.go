package gemm

import (
	"runtime"
	"unsafe"
)

// tileArgs are the arguments of the tile kernels, which access them by offset. From tile
// to tile the kernels decrement tiles and advance atA, atC and atD. They do not advance
// the pointers, which must never point outside their matrix.
type tileArgs struct {
	a, b, c, d              unsafe.Pointer // 0 8 16 24
	rsa, csa, rsb, rsc, rsd uintptr        // 32 40 48 56 64: strides in bytes
	k, rows, tiles, last    int            // 72 80 88 96: the last vector of C and D has `last` lanes
	alpha, beta             float32        // 104 108
	atA, atC, atD           uintptr        // 112 120 128: bytes
}

// align returns x from the start of its first whole cache line.
func align(x []float32) []float32 {
	return x[-(uintptr(unsafe.Pointer(unsafe.SliceData(x)))/4)&15:]
}

// at returns a pointer to element i of a matrix whose extent was checked.
func at(x []float32, i int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(x)), 4*i)
}

// kRange returns the range of block b of k.
func (p *Plan) kRange(b int) (lo, hi int) { return min(b*p.kb, p.K), min((b+1)*p.kb, p.K) }

// packJob packs one panel of one block of k into the shared scratch space.
func (p *Plan) packJob(op *Operands, scratch []float32, i int) {
	b, panel := i/p.panels, i%p.panels
	lo, hi := p.kRange(b)
	p.packPanel(op, scratch[p.sharedOffset(b, panel):], panel, lo, hi)
}

// sharedOffset returns the offset of a packed panel in the shared scratch space.
func (p *Plan) sharedOffset(block, panel int) int {
	return (block*p.vecs + p.panel(panel)) * p.lanes * p.padded
}

// packPanel copies rows lo..hi of a panel of op(B) to dst, as consecutive rows of whole
// vectors.
func (p *Plan) packPanel(op *Operands, dst []float32, panel, lo, hi int) {
	v0, v1 := p.panel(panel), p.panel(panel+1)
	width, k := (v1-v0)*p.lanes, hi-lo
	cols := min(width, p.N-v0*p.lanes)
	if k == 0 {
		return
	}
	_ = dst[:width*((k+15)&^15)]
	if !p.TransB {
		src := (*float32)(at(op.B, lo*p.LDB+v0*p.lanes))
		copyRows(p.level, v1-v0, &dst[0], src, uintptr(4*width), uintptr(4*p.lanes), uintptr(4*p.LDB), k, cols-(v1-v0-1)*p.lanes)
		return
	}
	for j := 0; j < cols; j += p.lanes {
		src := (*float32)(at(op.B, (v0*p.lanes+j)*p.LDB+lo))
		transpose(p.level, &dst[j], src, uintptr(4*width), uintptr(4*p.LDB), min(p.lanes, cols-j), k)
	}
	runtime.KeepAlive(op)
}

// task computes a block of rows for a group of panels.
func (p *Plan) task(op *Operands, scratch []float32, worker, i int) {
	r, q := i%p.rowTasks, i/p.rowTasks
	i0, i1 := p.M*r/p.rowTasks, p.M*(r+1)/p.rowTasks
	p0, p1 := p.panels*q/p.colTasks, p.panels*(q+1)/p.colTasks
	n := p.localSize()
	local := scratch[p.sharedSize()+worker*n:][:n]
	localA, localB := local[:p.localA()], local[p.localA():]
	for b := range p.blocks {
		lo, hi := p.kRange(b)
		if p.packA {
			p.packRows(op, localA, i0, i1, lo, hi)
		}
		for panel := p0; panel < p1; panel++ {
			p.panelRows(op, scratch, localA, localB, panel, b, i0, i1)
		}
	}
	runtime.KeepAlive(op)
}

// packRows copies rows i0..i1 of a transposed A, for k in lo..hi, to dst: panels of rowsA
// rows, in each of which the elements of one k are adjacent.
func (p *Plan) packRows(op *Operands, dst []float32, i0, i1, lo, hi int) {
	panels, apart := 1, p.lanes // panels per copy; distance in dst of the vectors of one k
	if p.lanes == strideA {
		panels, apart = p.wide, strideA*p.padded // each vector belongs to a panel of its own
	}
	for i := i0; i < i1; i, dst = i+panels*p.rowsA, dst[min(len(dst), panels*strideA*p.padded):] {
		rows := min(panels*p.rowsA, i1-i)
		vecs := ceil(rows, p.lanes)
		src := (*float32)(at(op.A, lo*p.LDA+i))
		copyRows(p.level, vecs, &dst[0], src, 4*strideA, uintptr(4*apart), uintptr(4*p.LDA), hi-lo, rows-(vecs-1)*p.lanes)
	}
}

// panelRows computes rows i0..i1 of a panel of C for block b of k.
func (p *Plan) panelRows(op *Operands, scratch, localA, localB []float32, panel, b, i0, i1 int) {
	lo, hi := p.kRange(b)
	v0, v1 := p.panel(panel), p.panel(panel+1)
	nv := v1 - v0
	g := tileArgs{
		a: at(op.A, i0*p.rsa+lo*p.csa), rsa: uintptr(4 * p.rsa), csa: uintptr(4 * p.csa),
		c: at(op.C, i0*p.LDC+v0*p.lanes), rsc: uintptr(4 * p.LDC),
		d: at(op.D, i0*op.LDD+v0*p.lanes), rsd: uintptr(4 * op.LDD),
		k: hi - lo, last: min(p.lanes, p.N-(v1-1)*p.lanes),
		alpha: op.Alpha, beta: op.Beta, rsb: uintptr(4 * nv * p.lanes),
	}
	if b > 0 {
		g.d, g.rsd, g.beta = g.c, g.rsc, 1
	}
	switch {
	case p.shared:
		g.b = at(scratch, p.sharedOffset(b, panel))
	case p.packed || g.last < p.lanes: // kernels read whole vectors of B
		p.packPanel(op, localB, panel, lo, hi)
		g.b = at(localB, 0)
	default:
		g.b, g.rsb = at(op.B, lo*p.LDB+v0*p.lanes), uintptr(4*p.LDB)
	}
	if !p.packA {
		p.rowTiles(&g, nv, i1-i0)
		return
	}
	g.rsa, g.csa = 4, 4*strideA
	for i := i0; i < i1; i += p.rowsA {
		g.a, g.atA = at(localA, (i-i0)/p.rowsA*strideA*p.padded), 0
		p.rowTiles(&g, nv, min(p.rowsA, i1-i))
	}
}

// rowTiles computes the next rows in tiles whose heights differ by at most 1.
func (p *Plan) rowTiles(g *tileArgs, nv, rows int) {
	n := ceil(rows, p.rows[nv])
	if g.rows, g.tiles = rows/n+1, rows%n; g.tiles > 0 {
		tiles(p.level, nv, g)
	}
	if g.rows, g.tiles = rows/n, n-rows%n; g.rows > 0 {
		tiles(p.level, nv, g)
	}
}
