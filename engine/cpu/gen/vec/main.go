// Command vec generates the kernels of engine/cpu/vec.
//
// Every kernel processes its slices in blocks of 16 floats: one vector of AVX-512 or two of
// AVX2. A sum has 16 partial sums, one for each position in a block, which are added in the
// same order, so that both give the same bits.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"hatchery/engine/cpu/gen/asm"
)

// isa adds operations that only these kernels need to an instruction set.
type isa struct{ asm.ISA }

func main() {
	ConstraintExpr("amd64")
	for _, s := range []isa{{asm.AVX512}, {asm.AVX2}} {
		s.elementwise()
		s.gelu()
		s.adamw()
		s.softmax()
		s.layerNorm()
	}
	constants()
	asm.Masks()
	Generate()
}

var table []uint32

// bits returns the address of 16 copies of a word in the table of constants.
func bits(w uint32) Mem {
	i := 0
	for ; i < len(table) && table[i] != w; i++ {
	}
	if i == len(table) {
		table = append(table, w)
	}
	return NewDataAddr(Symbol{Name: "constants", Static: true}, 64*i)
}

func c(v float64) Mem { return bits(math.Float32bits(float32(v))) }

func constants() {
	GLOBL("constants", RODATA|NOPTR)
	for i, w := range table {
		for j := 0; j < 16; j++ {
			DATA(64*i+4*j, U32(w))
		}
	}
}
