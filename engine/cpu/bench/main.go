// Command bench times single matrix products for openblas.py. For each line
// "m n k transA transB batch" of its input (transposes as 0 or 1) it prepares random
// operands and prints "ready". For each empty line after that it computes all products of
// the batch once, on one thread, and prints the seconds.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"time"

	"hatchery/engine/cpu/gemm"
	"hatchery/engine/random"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	var run func()
	for in.Scan() {
		if in.Text() != "" {
			var s gemm.Shape
			var ta, tb, batch int
			if _, err := fmt.Sscan(in.Text(), &s.M, &s.N, &s.K, &ta, &tb, &batch); err != nil {
				log.Fatalf("%q: %v", in.Text(), err)
			}
			var err error
			if run, err = prepare(s, ta != 0, tb != 0, batch); err != nil {
				log.Fatal(err)
			}
			fmt.Println("ready")
			continue
		}
		start := time.Now()
		run()
		fmt.Println(time.Since(start).Seconds())
	}
}

// serial is a pool that consists of the calling goroutine.
type serial struct{}

func (serial) Workers() int { return 1 }

func (serial) Run(n int, task func(worker, i int)) {
	for i := range n {
		task(0, i)
	}
}

func prepare(s gemm.Shape, transA, transB bool, batch int) (func(), error) {
	s.TransA, s.TransB, s.LDA, s.LDB, s.LDC = transA, transB, s.K, s.N, s.N
	if transA {
		s.LDA = s.M
	}
	if transB {
		s.LDB = s.K
	}
	plan, err := gemm.New(s, 1)
	if err != nil {
		return nil, err
	}
	r := random.New(1, "bench")
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	sizeA, sizeB, sizeC := s.M*s.K, s.K*s.N, s.M*s.N
	a, b, c := draw(batch*sizeA), draw(batch*sizeB), make([]float32, batch*sizeC)
	scratch := make([]float32, plan.Scratch())
	return func() {
		for i := range batch {
			plan.Run(serial{}, scratch, gemm.Operands{Alpha: 1, A: a[i*sizeA:], B: b[i*sizeB:], C: c[i*sizeC:]})
		}
	}, nil
}
