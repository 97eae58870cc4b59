// Package gemm multiplies float32 matrices on the CPU:
//
//	C = alpha*op(A)*op(B) + beta*D
//
// with op(X) = X or its transpose, all row-major with a leading dimension. D
// is C itself, another matrix (a residual), or one row for all rows (a bias).
//
// # Same bits everywhere
//
// An element of C is the same sum in the same order for every instruction
// set, thread count, and position in the matrix. k is cut into ceil(K/192)
// blocks of equal length (the last may be shorter). Within a block, starting from
// +0, products are added by fused multiply-add in the order of k. The first
// block's sum s gives C = fma(beta, D, alpha*s), or alpha*s where beta is 0;
// each further block gives C = C + alpha*s. Only the payload of a NaN is
// unspecified. If beta is 0, D is not read, so NaNs in it do not matter.
//
// # Speed
//
// Kernels are Go assembly written by the generator in ../gen: tiles of 8x48
// (AVX-512) or 6x16 (AVX2). B is packed into panels of 48 or 16 columns, or read
// in place if there are too few rows to make packing worthwhile. A is read in place
// with any strides, or packed if it is transposed and large.
//
// In GFLOP/s on one thread of a Xeon (Sapphire Rapids), the best of many short runs
// on a shared machine. The roof is one tile repeated in the L1 cache (go test -bench
// 'Roof|Product'). Ratios to OpenBLAS 0.3.31 are medians of alternating runs, the
// least and the greatest of five (../bench/openblas.py):
//
//	                             AVX-512  of roof  AVX2  of roof  OpenBLAS's time / ours
//	roof                             215           122
//	qkv         4160x576x192         198     0.92  115     0.94   1.07 .. 1.14
//	fc1         4160x768x192         200     0.93  117     0.96   0.98 .. 1.13
//	fc2         4160x192x768         179     0.83  111     0.91   1.03 .. 1.21
//	fc1 dx      4160x192x768, B'     209     0.97  113     0.93   1.05 .. 1.19
//	qkv dw      192x576x4160, A'     166     0.77   96     0.79   1.01 .. 1.16
//	attention   65x65x64,     B'     108     0.50   81     0.66   1.47 .. 1.49
//	attention   65x64x65             184     0.86  110     0.90   0.82 .. 1.00
//	square      1024x1024x1024       184     0.86   90     0.74   0.90 .. 1.04
package gemm

//go:generate go run -C ../gen ./gemm -out ../gemm/kernels_amd64.s -stubs ../gemm/stubs_amd64.go -pkg gemm

import (
	"fmt"
	"math"

	"hatchery/engine/cpu/isa"
)

// Shape is a product of an M x K by a K x N matrix.
type Shape struct {
	M, N, K int

	// TransA means that A is stored as K x M, TransB that B is stored as N x K.
	TransA, TransB bool

	// Leading dimensions: floats from one stored row to the next.
	LDA, LDB, LDC int
}

// Operands are the matrices of one product. C must not overlap A or B. D must
// be C itself, or not overlap it.
type Operands struct {
	Alpha   float32
	A, B, C []float32

	Beta float32
	D    []float32 // nil for C itself
	LDD  int       // floats from one row of D to the next; 0 adds the same row, a bias, to all
}

// Pool runs tasks. Results do not depend on how it distributes them.
type Pool interface {
	// Workers returns the maximum number of tasks that run at the same time.
	Workers() int
	// Run calls task(w, i) once for each 0 <= i < n, and returns when all calls have
	// returned. Calls with the same 0 <= w < Workers() do not overlap.
	Run(n int, task func(worker, i int))
}

// kBlock is the maximum length of a block of k. A panel of kBlock rows of B fits into the
// L1 cache. Results depend on it, so it is part of the definition of a product.
const kBlock = 192

// strideA is the number of floats from one k to the next in a packed panel of A.
const strideA = 16

// Plan is a prepared product of one shape. It uses the instruction set that was current
// when it was made. Calls of Run must not overlap; Do may be called at any time.
type Plan struct {
	Shape
	workers int
	level   isa.Level
	*kernel

	rsa, csa           int  // strides of op(A) in floats: from row to row, from column to column
	vecs, panels       int  // vectors in a row of C, and panels
	blocks, kb, padded int  // blocks of k, their length, and the length rounded up for packing
	packA              bool // tasks pack their rows of A
	packed             bool // B is packed
	shared             bool // B is packed once for all tasks, not by each task
	rowTasks, colTasks int

	// For the tasks of Run.
	op      Operands
	scratch []float32
	pack    func(worker, i int)
	compute func(worker, i int)
}

// kernel is the blocking of an instruction set.
type kernel struct {
	lanes, wide int    // floats in a vector, maximum vectors in a panel
	rows        [4]int // maximum rows of a tile, by its width in vectors
	rowsA       int    // rows of a packed panel of A, at most 16, in whole tiles
}

var kernels = [...]kernel{
	isa.Go:     {lanes: 16, wide: 3, rows: [4]int{0, 8, 8, 8}, rowsA: 16},
	isa.AVX2:   {lanes: 8, wide: 2, rows: [4]int{0, 6, 6}, rowsA: 12},
	isa.AVX512: {lanes: 16, wide: 3, rows: [4]int{0, 8, 14, 8}, rowsA: 16},
}

// New prepares a product for a pool with the given number of workers (1 for Do). It
// returns an error if a size is negative or a leading dimension is less than a row.
func New(s Shape, workers int) (*Plan, error) {
	p := &Plan{Shape: s, workers: max(1, workers), level: isa.Current(), rsa: s.LDA, csa: 1}
	colsA, colsB := s.K, s.N
	if s.TransA {
		colsA, p.rsa, p.csa = s.M, 1, s.LDA
	}
	if s.TransB {
		colsB = s.K
	}
	switch {
	case s.M < 0 || s.N < 0 || s.K < 0:
		return nil, fmt.Errorf("gemm: a product of %dx%d by %dx%d is impossible", s.M, s.K, s.K, s.N)
	case s.LDA < colsA:
		return nil, fmt.Errorf("gemm: rows of A have %d floats but LDA is %d", colsA, s.LDA)
	case s.LDB < colsB:
		return nil, fmt.Errorf("gemm: rows of B have %d floats but LDB is %d", colsB, s.LDB)
	case s.LDC < s.N:
		return nil, fmt.Errorf("gemm: rows of C have %d floats but LDC is %d", s.N, s.LDC)
	}
	p.kernel = &kernels[p.level]
	p.vecs = ceil(s.N, p.lanes)
	p.panels = ceil(p.vecs, p.wide)
	p.blocks = max(1, ceil(s.K, kBlock))
	p.kb = max(1, ceil(s.K, p.blocks))
	p.padded = (p.kb + 15) &^ 15
	p.divide(p.workers)
	p.pack = func(_, i int) { p.packJob(&p.op, p.scratch, i) }
	p.compute = func(worker, i int) { p.task(&p.op, p.scratch, worker, i) }
	return p, nil
}

// divide chooses what to pack and how to cut the product into tasks. Results do not depend
// on these choices, so the choices may depend on the number of workers.
func (p *Plan) divide(workers int) {
	const (
		copyRows   = 96       // minimum rows or columns that make packing the other matrix worthwhile
		copyBatch  = 1024     // minimum rows that make packing all of B beforehand worthwhile
		pageRow    = 512      // floats: rows of B at multiples of this distance share few sets of the cache
		maxShared  = 8 << 20  // floats of a shared copy of B
		maxRows    = 192      // of a task if B is shared: its block of A should stay in the L2 cache
		maxRowsB   = 384      // of a task that packs B itself, which the rows must make worthwhile
		maxC       = 64 << 10 // floats of C that a task should read again for each block of k
		small      = 1 << 18  // multiplications that are too few for two workers
		costPackA  = 0.3      // to pack a row of A, for each k, relative to a row times a panel
		costPackB  = 8.0      // to pack a panel of B, likewise
		costPerRun = 16.0
	)
	p.packA = p.TransA && p.K > 0 && p.M >= copyRows && p.N >= copyRows
	p.packed = p.TransB || p.M >= copyRows || p.LDB%pageRow == 0 && p.M >= 64
	p.shared = p.packed && p.M >= copyBatch && p.N*p.K <= maxShared
	rows, cols := maxRowsB, 1
	if p.shared {
		rows = maxRows
		if p.blocks > 1 {
			cols = min(p.panels, ceil(min(p.M, rows)*p.N, maxC))
		}
	}
	p.rowTasks, p.colTasks = max(1, ceil(p.M, rows)), cols
	if p.M*p.N*p.K < small {
		workers = 1
	}
	best := math.Inf(1)
	for r, first := p.rowTasks, p.rowTasks; r <= first+2*workers && r <= max(1, p.M); r++ {
		for c := cols; c <= min(max(1, p.panels), cols+2*workers); c++ {
			rows, panels := float64(ceil(p.M, r)), float64(ceil(p.panels, c))
			task := rows*panels + costPerRun
			if p.packA {
				task += costPackA * rows
			}
			if p.packed && !p.shared {
				task += costPackB * panels
			}
			if cost := float64(ceil(r*c, workers)) * task; cost < best {
				best, p.rowTasks, p.colTasks = cost, r, c
			}
		}
	}
}

func ceil(a, b int) int { return (a + b - 1) / b }

// Scratch returns the number of floats of working space that Run and Do need. Its content
// does not matter, so plans that do not run at the same time can share it.
func (p *Plan) Scratch() int { return p.sharedSize() + p.workers*p.localSize() + 16 }

// panel returns the first vector of panel i.
func (p *Plan) panel(i int) int { return p.vecs * i / p.panels }

func (p *Plan) sharedSize() int {
	if !p.shared {
		return 0
	}
	return p.blocks * p.vecs * p.lanes * p.padded
}

// localSize returns the working space of one worker: its rows of A for one block of k, and
// one panel of B.
func (p *Plan) localSize() int {
	n := p.localA()
	if !p.shared && (p.packed || p.N%p.lanes != 0) {
		n += p.wide * p.lanes * p.padded
	}
	return n
}

func (p *Plan) localA() int {
	if !p.packA {
		return 0
	}
	return ceil(ceil(p.M, p.rowTasks), p.rowsA) * p.padded * strideA
}

// Run computes op on the pool. It panics if a slice is too short for the shape, if scratch
// is shorter than Scratch(), or if the pool has more workers than were given to New.
func (p *Plan) Run(pool Pool, scratch []float32, op Operands) {
	if n := pool.Workers(); n > p.workers {
		panic(fmt.Sprintf("gemm: a pool of %d workers runs a plan for %d", n, p.workers))
	}
	scratch = p.check(scratch, &op)
	if p.M == 0 || p.N == 0 {
		return
	}
	p.op, p.scratch = op, scratch
	if p.shared {
		pool.Run(p.blocks*p.panels, p.pack)
	}
	pool.Run(p.rowTasks*p.colTasks, p.compute)
	p.op, p.scratch = Operands{}, nil
}

// Do computes op in the calling goroutine. It panics like Run. Concurrent calls need
// separate scratch space.
func (p *Plan) Do(scratch []float32, op Operands) {
	scratch = p.check(scratch, &op)
	if p.M == 0 || p.N == 0 {
		return
	}
	if p.shared {
		for i := range p.blocks * p.panels {
			p.packJob(&op, scratch, i)
		}
	}
	for i := range p.rowTasks * p.colTasks {
		p.task(&op, scratch, 0, i)
	}
}

// check panics if a slice is too short, sets the default of D, and returns the aligned
// scratch space.
func (p *Plan) check(scratch []float32, op *Operands) []float32 {
	rowsA, colsA, rowsB, colsB := p.M, p.K, p.K, p.N
	if p.TransA {
		rowsA, colsA = colsA, rowsA
	}
	if p.TransB {
		rowsB, colsB = colsB, rowsB
	}
	if op.D == nil || op.Beta == 0 {
		op.D, op.LDD = op.C, p.LDC
	}
	if op.Beta == 0 {
		op.Beta = 0 // not -0, which the kernels would take for a nonzero number
	}
	p.need("A", op.A, rowsA, colsA, p.LDA)
	p.need("B", op.B, rowsB, colsB, p.LDB)
	p.need("C", op.C, p.M, p.N, p.LDC)
	p.need("D", op.D, p.M, p.N, op.LDD)
	if n := p.Scratch(); len(scratch) < n {
		panic(fmt.Sprintf("gemm: scratch has %d floats; %dx%dx%d with %d workers needs %d", len(scratch), p.M, p.N, p.K, p.workers, n))
	}
	return align(scratch)
}

func (p *Plan) need(name string, x []float32, rows, cols, ld int) {
	if rows == 0 || cols == 0 {
		return
	}
	if n := (rows-1)*ld + cols; ld < 0 || len(x) < n {
		panic(fmt.Sprintf("gemm: %s has %d floats; %d rows of %d, %d apart, need %d", name, len(x), rows, cols, ld, n))
	}
}
