package gemm_test

import (
	"fmt"
	"log"

	"hatchery/engine/cpu"
	"hatchery/engine/cpu/gemm"
)

// Example multiplies [2, 3] by [3, 2] and adds a row to each row.
func Example() {
	a := []float32{1, 2, 3, 4, 5, 6}
	b := []float32{1, 0, 0, 1, 1, 1}
	bias := []float32{10, 20}
	c := make([]float32, 4)

	pool := cpu.NewPool(0)
	plan, err := gemm.New(gemm.Shape{M: 2, N: 2, K: 3, LDA: 3, LDB: 2, LDC: 2}, pool.Workers())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	scratch := make([]float32, plan.Scratch()) // plans that do not run at once can share it
	plan.Run(pool, scratch, gemm.Operands{Alpha: 1, A: a, B: b, C: c, Beta: 1, D: bias})
	fmt.Println(c)
	// Output: [14 25 20 31]
}
