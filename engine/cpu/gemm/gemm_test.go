package gemm

import (
	"fmt"
	"math"
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

// levels are the instruction sets that can be tested here.
func levels() (l []isa.Level) {
	for i := isa.Go; i <= isa.Best(); i++ {
		l = append(l, i)
	}
	return l
}

// at level runs f with kernels of level l.
func atLevel(t testing.TB, l isa.Level, f func()) {
	before, err := isa.Use(l)
	if err != nil {
		t.Fatal(err)
	}
	defer isa.Use(before)
	f()
}

// problem is a product with operands in the middle of canaries.
type problem struct {
	Shape
	op   Operands
	c    []float32 // C with its surroundings
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
	// Offsets that are no multiple of a vector: nothing may need alignment.
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

// d is beta*D's factor D.
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
				s *= p.op.Alpha
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

// run computes the product on a copy of C, which it gives back with its canaries.
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

// same fails where got and want are not the same bits, NaN aside.
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
		{1, 1, 1}, {0, 3, 2}, {3, 0, 2}, {2, 3, 0}, {3, 5, 7}, {14, 32, 25}, {65, 65, 64}, {33, 1, 9}, {1, 130, 193},
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
