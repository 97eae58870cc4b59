package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"hatchery/engine/cpu/gen/asm"
)

// set returns a new vector with the constant m in all lanes.
func (s isa) set(m Mem) VecVirtual { v := s.Vec(); VMOVUPS(m, v); return v }

// splat returns a new vector with a float32 parameter in all lanes.
func (s isa) splat(name string) VecVirtual {
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := s.Vec()
	VBROADCASTSS(a.Addr, v)
	return v
}

// halves returns the number of vectors in a block of 16 floats.
func (s isa) halves() int { return 16 / s.Lanes }

// blocks generates a loop over n floats. body gets the index of the vector in its block, its
// offset from the pointers in bytes, and the mask of the valid lanes (nil for all).
func (s isa) blocks(name string, n GPVirtual, ptrs []GPVirtual, body func(h, off int, k Op)) {
	left := asm.Copy(n)
	Label(name)
	CMPQ(left, Imm(16))
	JLT(LabelRef(name + "Tail"))
	for h := 0; h < s.halves(); h++ {
		body(h, h*s.Bytes(), nil)
	}
	for _, p := range ptrs {
		ADDQ(Imm(64), p)
	}
	SUBQ(Imm(16), left)
	JMP(LabelRef(name))
	Label(name + "Tail")
	TESTQ(left, left)
	JZ(LabelRef(name + "Done"))
	if s.Wide() {
		body(0, 0, s.Mask(left))
	} else {
		lanes, t := asm.Copy(left), GP64()
		MOVQ(U32(8), t)
		CMPQ(lanes, t)
		CMOVQGT(t, lanes)
		body(0, 0, s.Mask(lanes))
		XORQ(t, t)
		SUBQ(Imm(8), left)
		CMOVQLT(t, left)
		body(1, s.Bytes(), s.Mask(left))
	}
	Label(name + "Done")
}

// read returns a new vector loaded from memory, with zeros in invalid lanes.
func (s isa) read(p GPVirtual, off int, k Op) VecVirtual {
	v := s.Vec()
	s.Load(Mem{Base: p, Disp: off}, k, v)
	return v
}

func (s isa) write(v VecVirtual, p GPVirtual, off int, k Op) { s.Store(v, k, Mem{Base: p, Disp: off}) }

// clearInvalid sets the lanes of v outside mask k to zero.
func (s isa) clearInvalid(k Op, v VecVirtual) {
	switch {
	case k == nil:
	case s.Wide():
		VMOVAPS_Z(v, k, v)
	default:
		VANDPS(k, v, v)
	}
}

func (s isa) and(m Op, v, dst VecVirtual) {
	if s.Wide() {
		VPANDD(m, v, dst)
	} else {
		VANDPS(m, v, dst)
	}
}

func (s isa) or(m Op, v, dst VecVirtual) {
	if s.Wide() {
		VPORD(m, v, dst)
	} else {
		VORPS(m, v, dst)
	}
}

// partial returns the initial 16 partial results of a reduction.
func (s isa) partial(start func() VecVirtual) []VecVirtual {
	v := make([]VecVirtual, s.halves())
	for i := range v {
		v[i] = start()
	}
	return v
}

func add(a, b, d Op) { VADDPS(a, b, d) }
func top(a, b, d Op) { VMAXPS(a, b, d) }

// fold reduces 16 partial results, those 8 apart first, then 4, 2, 1, and
// leaves the result in lane 0 of v[0].
func (s isa) fold(v []VecVirtual, op func(a, b, d Op)) VecVirtual {
	r := v[0]
	if s.Wide() {
		h := ZMM()
		VSHUFF32X4(Imm(0x4e), r, r, h)
		op(h, r, r)
		VSHUFF32X4(Imm(0xb1), r, r, h)
		op(h, r, r)
	} else {
		op(v[1], r, r)
		h := YMM()
		VPERM2F128(Imm(1), r, r, h)
		op(h, r, r)
	}
	h, x := XMM(), r.AsX()
	VPERMILPS(Imm(0x4e), x, h)
	op(h, x, x)
	VPERMILPS(Imm(0xb1), x, h)
	op(h, x, x)
	return r
}

// foldAll is like fold, with the result in every lane.
func (s isa) foldAll(v []VecVirtual, op func(a, b, d Op)) VecVirtual {
	r := s.fold(v, op)
	VBROADCASTSS(r.AsX(), r)
	return r
}
