package gemm

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync"
	"testing"

	"hatchery/engine/cpu/isa"
	"hatchery/engine/random"
)

// goroutines is a Pool of n workers for tests.
type goroutines int

func (n goroutines) Workers() int { return int(n) }

func (n goroutines) Run(tasks int, task func(worker, i int)) {
	var wg sync.WaitGroup
	for w := range int(n) {
		wg.Go(func() {
			for i := w; i < tasks; i += int(n) {
				task(w, i)
			}
		})
	}
	wg.Wait()
}

// levels returns the instruction sets that this CPU supports.
func levels() (l []isa.Level) {
	for i := isa.Go; i <= isa.Best(); i++ {
		l = append(l, i)
	}
	return l
}

// atLevel runs f with kernels of level l.
func atLevel(t testing.TB, l isa.Level, f func()) {
	before, err := isa.Use(l)
	if err != nil {
		t.Fatal(err)
	}
	defer isa.Use(before)
	f()
}

// problem is a product whose operands are surrounded by canaries.
type problem struct {
	Shape
	op   Operands
	c    []float32 // C with its canaries
	name string
}

const canary = 12345.678

func numbers(r *random.Stream, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// newProblem draws operands; pad lengthens the rows and kind chooses D.
func newProblem(r *random.Stream, m, n, k int, transA, transB bool, pad, kind int) *problem {
	p := &problem{Shape: Shape{M: m, N: n, K: k, TransA: transA, TransB: transB, LDA: k + pad, LDB: n + pad, LDC: n + pad}}
	rowsA, rowsB := m, k
	if transA {
		rowsA, p.LDA = k, m+pad
	}
	if transB {
		rowsB, p.LDB = n, k+pad
	}
	// The offsets are not multiples of a vector: nothing may require alignment.
	p.op = Operands{Alpha: 1, A: numbers(r, rowsA*p.LDA+3)[3:], B: numbers(r, rowsB*p.LDB+5)[5:]}
	p.c = numbers(r, m*p.LDC+64)
	for i := range p.c {
		if j := i - 31; j < 0 || j >= m*p.LDC || j%p.LDC >= n {
			p.c[i] = canary
		}
	}
	p.op.C = p.c[31 : 31+m*p.LDC]
	switch kind {
	case 1: // accumulate
		p.op.Alpha, p.op.Beta = 0.7, -1.3
	case 2: // bias
		p.op.Beta, p.op.D = 1, numbers(r, n)
	case 3: // residual
		p.op.Beta, p.op.D, p.op.LDD = 1, numbers(r, m*(n+1)), n+1
	}
	p.name = fmt.Sprintf("%dx%dx%d transA=%v transB=%v pad=%d kind=%d", m, n, k, transA, transB, pad, kind)
	return p
}

func (p *problem) a(i, k int) float32 {
	if p.TransA {
		i, k = k, i
	}
	return p.op.A[i*p.LDA+k]
}

func (p *problem) b(k, j int) float32 {
	if p.TransB {
		k, j = j, k
	}
	return p.op.B[k*p.LDB+j]
}

// d returns an element of D.
func (p *problem) d(c []float32, i, j int) float32 {
	if p.op.D == nil {
		return c[31+i*p.LDC+j]
	}
	return p.op.D[i*p.op.LDD+j]
}

// plain computes the product as the package documentation defines it.
func (p *problem) plain() []float32 {
	c := append([]float32(nil), p.c...)
	blocks := max(1, (p.K+191)/192)
	kb := (p.K + blocks - 1) / blocks
	for i := range p.M {
		for j := range p.N {
			var sum float32
			for b := range blocks {
				var s float32
				for k := b * kb; k < min(b*kb+kb, p.K); k++ {
					s = isa.FMA(p.a(i, k), p.b(k, j), s)
				}
				s = float32(s * p.op.Alpha)
				switch {
				case b > 0:
					sum += s
				case p.op.Beta != 0:
					sum = isa.FMA(p.op.Beta, p.d(p.c, i, j), s)
				default:
					sum = s
				}
			}
			c[31+i*p.LDC+j] = sum
		}
	}
	return c
}

// run computes the product on a copy of C and returns the copy with its canaries.
func (p *problem) run(t testing.TB, l isa.Level, workers int) []float32 {
	t.Helper()
	c := append([]float32(nil), p.c...)
	op := p.op
	op.C = c[31 : 31+p.M*p.LDC]
	atLevel(t, l, func() {
		plan, err := New(p.Shape, workers)
		if err != nil {
			t.Fatal(err)
		}
		scratch := make([]float32, plan.Scratch()+1)
		scratch[len(scratch)-1] = canary
		for i := range scratch[:len(scratch)-1] {
			scratch[i] = float32(math.NaN())
		}
		if workers == 0 {
			plan.Do(scratch[:len(scratch)-1], op)
		} else {
			plan.Run(goroutines(workers), scratch[:len(scratch)-1], op)
		}
		if scratch[len(scratch)-1] != canary {
			t.Errorf("%s, %v: wrote past its scratch space", p.name, l)
		}
	})
	return c
}

// same fails the test if got and want differ in a bit; all NaNs are equal.
func same(t testing.TB, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d is %g (%08x), want %g (%08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

func (p *problem) check(t testing.TB, workers ...int) {
	t.Helper()
	want := p.plain()
	for _, l := range levels() {
		for _, w := range workers {
			same(t, fmt.Sprintf("%s, %v, %d workers", p.name, l, w), p.run(t, l, w), want)
		}
	}
}

func TestProduct(t *testing.T) {
	r := random.New(1, "gemm")
	for _, s := range [][3]int{
		{1, 1, 1}, {0, 3, 2}, {3, 0, 2}, {2, 3, 0}, {104, 125, 0}, {3, 5, 7}, {14, 32, 25}, {65, 65, 64}, {33, 1, 9}, {1, 130, 193},
		{64, 10, 192}, {29, 70, 400}, {260, 49, 20}, {1030, 17, 3}, {70, 512, 5}, {300, 97, 195},
	} {
		for v := range 16 {
			newProblem(r, s[0], s[1], s[2], v&1 != 0, v&2 != 0, v%5, v>>2).check(t, 0, 1, 3)
		}
	}
}

func TestRandomShapes(t *testing.T) {
	r := random.New(2, "gemm")
	for range 60 {
		newProblem(r, r.IntN(90), r.IntN(140), r.IntN(60), r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(20), r.IntN(4)).check(t, 0, 2, 7)
	}
}

// TestAgainstFloat64 compares with float64, within the bound of Higham, Accuracy and
// Stability of Numerical Algorithms, 2002, section 3.1: |error| <=
// gamma(operations) * sum of absolute values, for every order of the sums.
func TestAgainstFloat64(t *testing.T) {
	r := random.New(3, "gemm")
	for _, s := range [][3]int{{65, 65, 64}, {20, 50, 1000}, {7, 33, 193}} {
		p := newProblem(r, s[0], s[1], s[2], true, true, 1, 1)
		nu := float64(p.K+p.K/192+4) * 0x1p-24
		for _, l := range levels() {
			got := p.run(t, l, 2)
			for i := range p.M {
				for j := range p.N {
					at := 31 + i*p.LDC + j
					d := float64(p.op.Beta) * float64(p.c[at])
					want, size := d, math.Abs(d)
					for k := range p.K {
						v := float64(p.op.Alpha) * float64(p.a(i, k)) * float64(p.b(k, j))
						want, size = want+v, size+math.Abs(v)
					}
					if math.Abs(float64(got[at])-want) > nu/(1-nu)*size {
						t.Fatalf("%s, %v: element %d,%d is %g, want %g", p.name, l, i, j, got[at], want)
					}
				}
			}
		}
	}
}

// TestOddNumbers checks that NaNs, infinities, denormals and -0 give the same results as in
// the plain product, and that D does not matter if beta is 0.
func TestOddNumbers(t *testing.T) {
	odd := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32,
		-1e-40, 0x1p-126, float32(math.Copysign(0, -1)), 0, math.MaxFloat32, 1e-20, -1e20}
	r := random.New(4, "gemm")
	for v := range 40 {
		p := newProblem(r, 1+r.IntN(30), 1+r.IntN(70), 1+r.IntN(250), v&1 != 0, v&2 != 0, 1, r.IntN(4))
		for range 1 + v/4 {
			p.op.A[r.IntN(len(p.op.A))] = odd[r.IntN(len(odd))]
			p.op.B[r.IntN(len(p.op.B))] = odd[r.IntN(len(odd))]
			if p.op.Beta == 0 {
				p.op.C[r.IntN(len(p.op.C))] = float32(math.NaN()) // must not matter
			}
		}
		if v%8 == 0 {
			for _, x := range [][]float32{p.op.A, p.op.B} {
				for i := range x {
					x[i] *= 1e-20 // products are denormal
				}
			}
		}
		p.check(t, 0, 2)
		if p.op.Beta == 0 {
			p.op.Beta = float32(math.Copysign(0, -1))
			p.check(t, 1)
		}
	}
}

// TestGolden compares with the bits that every machine and instruction set must give.
func TestGolden(t *testing.T) {
	for v, want := range []uint32{0x84d53669, 0x250149e3, 0x26d23b1a, 0xf31cb678} {
		r := random.New(6, "golden")
		p := newProblem(r, 61, 83, 300, v&1 != 0, v&2 != 0, 0, 1)
		for _, x := range [][]float32{p.op.A, p.op.B, p.c} {
			for i := range x {
				x[i] = float32(r.IntN(1<<24)-1<<23) * 0x1p-22
			}
		}
		for _, l := range levels() {
			h := fnv.New32a()
			for _, x := range p.run(t, l, 2) {
				h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)))
			}
			if got := h.Sum32(); got != want {
				t.Errorf("transposes %d, %v: the hash of C is %#x, want %#x", v, l, got, want)
			}
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, s := range []Shape{
		{M: -1, N: 1, K: 1, LDA: 1, LDB: 1, LDC: 1},
		{M: 2, N: 3, K: 4, LDA: 3, LDB: 3, LDC: 3},
		{M: 2, N: 3, K: 4, LDA: 4, LDB: 2, LDC: 3},
		{M: 2, N: 3, K: 4, LDA: 4, LDB: 3, LDC: 2},
		{M: 2, N: 3, K: 4, LDA: 1, LDB: 3, LDC: 3, TransA: true},
		{M: 2, N: 3, K: 4, LDA: 4, LDB: 3, LDC: 3, TransB: true},
	} {
		if _, err := New(s, 1); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
	plan, err := New(Shape{M: 2, N: 3, K: 4, LDA: 4, LDB: 3, LDC: 3}, 2)
	if err != nil {
		t.Fatal(err)
	}
	good := Operands{Alpha: 1, A: make([]float32, 8), B: make([]float32, 12), C: make([]float32, 6)}
	scratch := make([]float32, plan.Scratch())
	for name, f := range map[string]func(op Operands){
		"A":       func(op Operands) { op.A = op.A[1:]; plan.Do(scratch, op) },
		"B":       func(op Operands) { op.B = op.B[1:]; plan.Do(scratch, op) },
		"C":       func(op Operands) { op.C = op.C[1:]; plan.Do(scratch, op) },
		"D":       func(op Operands) { op.Beta, op.D = 1, op.A[:2]; plan.Do(scratch, op) },
		"scratch": func(op Operands) { plan.Do(scratch[1:], op) },
		"pool":    func(op Operands) { plan.Run(goroutines(3), scratch, op) },
	} {
		func() {
			defer func() {
				if r := recover(); !strings.Contains(fmt.Sprint(r), name) {
					t.Errorf("bad %s: panic %v", name, r)
				}
			}()
			f(good)
		}()
	}
	plan.Do(scratch, good)
}

// serial is a Pool that does not allocate.
type serial struct{}

func (serial) Workers() int { return 1 }

func (serial) Run(n int, task func(worker, i int)) {
	for i := range n {
		task(0, i)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, l := range levels() {
		atLevel(t, l, func() {
			p := newProblem(random.New(7, "gemm"), 200, 100, 20, true, true, 0, 2)
			plan, err := New(p.Shape, 1)
			if err != nil {
				t.Fatal(err)
			}
			scratch := make([]float32, plan.Scratch())
			var pool Pool = serial{}
			if n := testing.AllocsPerRun(5, func() { plan.Run(pool, scratch, p.op); plan.Do(scratch, p.op) }); n > 0 {
				t.Errorf("%v: %v allocations a product", l, n)
			}
		})
	}
}

func FuzzProduct(f *testing.F) {
	f.Add(uint64(1), uint16(65), uint16(65), uint16(64), uint8(3), uint8(1))
	f.Add(uint64(2), uint16(193), uint16(49), uint16(385), uint8(1), uint8(0))
	f.Add(uint64(3), uint16(0), uint16(5), uint16(0), uint8(8), uint8(9))
	f.Add(uint64(4), uint16(104), uint16(125), uint16(0), uint8(3), uint8(7))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k uint16, kind, pad uint8) {
		p := newProblem(random.New(seed, "fuzz"), int(m%300), int(n%200), int(k%500), kind&1 != 0, kind&2 != 0, int(pad), int(kind>>2&3))
		p.check(t, int(kind>>4))
	})
}
