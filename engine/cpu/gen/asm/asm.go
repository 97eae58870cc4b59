// Package asm is the common part of the kernel generators: the type of an instruction set,
// with methods for the operations that differ between AVX2 and AVX-512.
package asm

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// ISA is an instruction set, given by the width of its vectors.
type ISA struct{ Bits, Lanes int }

// The instruction sets that kernels are generated for.
var (
	AVX512 = ISA{512, 16}
	AVX2   = ISA{256, 8}
)

// Wide reports whether s is AVX-512.
func (s ISA) Wide() bool { return s.Bits == 512 }

// Bytes returns the size of a vector.
func (s ISA) Bytes() int { return 4 * s.Lanes }

// Func begins the assembly function name<bits>. avo supports only basic types.
func (s ISA) Func(name, signature string) {
	TEXT(fmt.Sprintf("%s%d", name, s.Bits), NOSPLIT|NOFRAME, signature)
	Pragma("noescape")
}

// End returns from a function that used wide registers.
func End() {
	VZEROUPPER()
	RET()
}

// Arg loads an integer or pointer parameter.
func Arg(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }

// Copy returns a new register with the value of r.
func Copy(r Register) GPVirtual {
	c := GP64()
	MOVQ(r, c)
	return c
}

// Vec returns a new vector register.
func (s ISA) Vec() VecVirtual {
	if s.Wide() {
		return ZMM()
	}
	return YMM()
}

// Zero returns a new vector of zeros.
func (s ISA) Zero() VecVirtual {
	v := s.Vec()
	s.Clear(v)
	return v
}

// Clear sets v to zeros.
func (s ISA) Clear(v VecVirtual) {
	if s.Wide() {
		VPXORD(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

// Load reads the lanes of mask k (all if k is nil); other lanes become zero.
func (s ISA) Load(m Mem, k Op, v VecVirtual) {
	switch {
	case k == nil:
		VMOVUPS(m, v)
	case s.Wide():
		VMOVUPS_Z(m, k, v)
	default:
		VMASKMOVPS(m, k, v)
	}
}

// Store writes the lanes of mask k (all if k is nil).
func (s ISA) Store(v VecVirtual, k Op, m Mem) {
	switch {
	case k == nil:
		VMOVUPS(v, m)
	case s.Wide():
		VMOVUPS(v, k, m)
	default:
		VMASKMOVPS(v, k, m)
	}
}

// Mask returns the mask of the first n lanes, 0 <= n <= Lanes.
func (s ISA) Mask(n Register) Op {
	if s.Wide() {
		m, k := GP32(), K()
		MOVL(U32(1), m)
		SHLXL(n.(GPVirtual).As32(), m, m)
		DECL(m)
		KMOVW(m, k)
		return k
	}
	t, x, v := GP64(), GP64(), YMM()
	LEAQ(NewDataAddr(Symbol{Name: "masks", Static: true}, 32), t)
	MOVQ(n, x)
	SHLQ(Imm(2), x)
	SUBQ(x, t)
	VMOVUPS(Mem{Base: t}, v)
	return v
}

// Masks writes the table that Mask uses. Call it once, after the last function.
func Masks() {
	GLOBL("masks", RODATA|NOPTR)
	for i := 0; i < 16; i++ {
		v := uint32(0)
		if i < 8 {
			v = math.MaxUint32
		}
		DATA(4*i, U32(v))
	}
}
