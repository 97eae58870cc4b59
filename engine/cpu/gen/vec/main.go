// Command vec writes the kernels of engine/cpu/vec.
//
// Every kernel walks its slices in blocks of 16 floats: one vector of AVX-512,
// two of AVX2. A sum has 16 partial sums, one for each place in a block, and
// ends in the same tree, so that both give the same bits.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"hatchery/engine/cpu/gen/asm"
)

// isa adds to an instruction set what only these kernels need.
type isa struct{ asm.ISA }

func main() {
	ConstraintExpr("amd64")
	for _, s := range []isa{{asm.AVX512}, {asm.AVX2}} {
		s.elementwise()
		s.gelu()
		s.adamw()
		s.sums()
		s.softmax()
		s.layerNorm()
	}
	constants()
	asm.Masks()
	Generate()
}

var table []uint32

// bits names 16 copies of a word in the table of constants.
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

// set is a new vector of one constant.
func (s isa) set(m Mem) VecVirtual { v := s.Vec(); VMOVUPS(m, v); return v }

// splat is a new vector of a float32 parameter.
func (s isa) splat(name string) VecVirtual {
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := s.Vec()
	VBROADCASTSS(a.Addr, v)
	return v
}

// halves is the number of vectors of a block of 16 floats.
func (s isa) halves() int { return 16 / s.Lanes }

// blocks walks n floats. body gets the number of the vector in its block, its
// distance from the pointers, and the mask of the lanes that exist (nil: all).
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

// read is a new vector from memory; lanes that do not exist are zero.
func (s isa) read(p GPVirtual, off int, k Op) VecVirtual {
	v := s.Vec()
	s.Load(Mem{Base: p, Disp: off}, k, v)
	return v
}

func (s isa) write(v VecVirtual, p GPVirtual, off int, k Op) { s.Store(v, k, Mem{Base: p, Disp: off}) }

// only makes the lanes of v that do not exist zero.
func (s isa) only(k Op, v VecVirtual) {
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

// partial makes the 16 partial results of a reduction.
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

// foldAll is fold with the result in every lane.
func (s isa) foldAll(v []VecVirtual, op func(a, b, d Op)) VecVirtual {
	r := s.fold(v, op)
	VBROADCASTSS(r.AsX(), r)
	return r
}

// exp replaces x by e^x, within 1 in the last place: x = n*ln 2 + r, a
// polynomial in r (Cephes), times 2^n, rounded once. NaN stays NaN: it is in
// the operand that VMINPS and VMAXPS give back.
func (s isa) exp(x VecVirtual) {
	VMINPS(x, s.set(c(89)), x)
	VMAXPS(x, s.set(c(-104)), x)
	s.expInside(x)
}

// expInside is exp for -104 <= x <= 89 or NaN.
func (s isa) expInside(x VecVirtual) {
	n, p, r2 := s.Vec(), s.Vec(), s.Vec()
	VMULPS(c(math.Log2E), x, n)
	if s.Wide() {
		VRNDSCALEPS(Imm(8), n, n)
	} else {
		VROUNDPS(Imm(8), n, n)
	}
	VFNMADD231PS(c(0.693359375), n, x)
	VFNMADD231PS(c(-2.12194440e-4), n, x)
	VMOVUPS(c(1.9875691500e-4), p)
	for _, k := range []float64{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VFMADD213PS(c(k), x, p)
	}
	VMULPS(x, x, r2)
	VFMADD213PS(x, r2, p)
	VADDPS(c(1), p, p)
	if s.Wide() {
		VSCALEFPS(n, p, x)
		return
	}
	// 2^n in two factors: one alone may be no normal number.
	half := s.Vec()
	VCVTPS2DQ(n, n)
	VPSRAD(Imm(1), n, half)
	VPSUBD(half, n, n)
	for _, e := range []VecVirtual{half, n} {
		VPSLLD(Imm(23), e, e)
		VPADDD(c(1), e, e)
		VMULPS(e, p, p)
	}
	VMOVAPS(p, x)
}

// expShare replaces x <= 0 by e^x, or 0 where that is less than e^-80: a share
// of a sum that is at least 1. That keeps clear of denormal numbers, on which
// processors are very slow.
func (s isa) expShare(x VecVirtual) {
	const notLess = 0x15 // true for NaN
	if s.Wide() {
		k := K()
		VCMPPS(Imm(notLess), c(-80), x, k)
		VMAXPS(x, s.set(c(-80)), x)
		s.expInside(x)
		VMOVAPS_Z(x, k, x)
		return
	}
	k := s.Vec()
	VCMPPS(Imm(notLess), c(-80), x, k)
	VMAXPS(x, s.set(c(-80)), x)
	s.expInside(x)
	VANDPS(k, x, x)
}

func (s isa) elementwise() {
	unary := func(name string, f func(v VecVirtual)) {
		s.Func(name, "func(dst, x *float32, n int)")
		d, x, n := asm.Arg("dst"), asm.Arg("x"), asm.Arg("n")
		s.blocks("v", n, []GPVirtual{d, x}, func(_, off int, k Op) {
			v := s.read(x, off, k)
			f(v)
			s.write(v, d, off, k)
		})
		asm.End()
	}
	unary("exp", s.exp)

	s.Func("scale", "func(dst, x *float32, n int, s float32)")
	{
		d, x, n, f := asm.Arg("dst"), asm.Arg("x"), asm.Arg("n"), s.splat("s")
		s.blocks("v", n, []GPVirtual{d, x}, func(_, off int, k Op) {
			v := s.read(x, off, k)
			VMULPS(f, v, v)
			s.write(v, d, off, k)
		})
		asm.End()
	}
	binary := func(name string, f func(a, b, s VecVirtual)) {
		s.Func(name, "func(dst, a, b *float32, n int, s float32)")
		d, a, b, n, x := asm.Arg("dst"), asm.Arg("a"), asm.Arg("b"), asm.Arg("n"), s.splat("s")
		s.blocks("v", n, []GPVirtual{d, a, b}, func(_, off int, k Op) {
			v, w := s.read(a, off, k), s.read(b, off, k)
			f(v, w, x)
			s.write(v, d, off, k)
		})
		asm.End()
	}
	binary("addScaled", func(a, b, x VecVirtual) { VFMADD231PS(x, b, a) })
	binary("subScaled", func(a, b, x VecVirtual) {
		VSUBPS(b, a, a)
		VMULPS(x, a, a)
	})
	// s with the sign of a-b, or zero where they are equal, or NaN where one is.
	binary("sign", func(a, b, x VecVirtual) {
		d, one := s.Vec(), s.set(c(1))
		VSUBPS(b, a, d)
		// d clamped to [-1, 1] after growing past it: the smallest
		// denormal times 2^127 twice is more than 1.
		VMULPS(c(0x1p127), d, d)
		VMULPS(c(0x1p127), d, d)
		VMINPS(d, one, d)
		VMAXPS(d, s.set(c(-1)), d)
		VMULPS(x, d, a)
	})
}

// phi computes for x the lower tail q = Phi(-|x|), e = exp(-x*x/2) and a = |x|,
// with Abramowitz and Stegun 7.1.26: within 1e-7. e stops at e^-80, before
// denormal numbers, on which processors are very slow.
func (s isa) phi(x VecVirtual) (a, q, e VecVirtual) {
	a, q, e = s.Vec(), s.Vec(), s.Vec()
	t := s.Vec()
	s.and(bits(0x7fffffff), x, a)
	VMOVUPS(c(0.3275911*math.Sqrt2/2), t)
	VFMADD213PS(c(1), a, t)
	VDIVPS(t, s.set(c(1)), t)
	VMULPS(a, a, e)
	VMULPS(c(-0.5), e, e)
	VMAXPS(e, s.set(c(-80)), e)
	s.expInside(e)
	VMOVUPS(c(1.061405429/2), q)
	for _, k := range []float64{-1.453152027, 1.421413741, -0.284496736, 0.254829592} {
		VFMADD213PS(c(k/2), t, q)
	}
	VMULPS(t, q, q)
	VMULPS(e, q, q)
	return a, q, e
}

func (s isa) gelu() {
	s.Func("gelu", "func(dst, x *float32, n int)")
	{
		d, x, n := asm.Arg("dst"), asm.Arg("x"), asm.Arg("n")
		s.blocks("v", n, []GPVirtual{d, x}, func(_, off int, k Op) {
			v := s.read(x, off, k)
			a, q, _ := s.phi(v)
			z := s.Zero()
			VMAXPS(v, z, z)
			VFNMADD231PS(a, q, z) // max(x,0) - |x|*Phi(-|x|)
			s.write(z, d, off, k)
		})
		asm.End()
	}
	s.Func("geluBackward", "func(dx, dy, x *float32, n int)")
	{
		d, y, x, n := asm.Arg("dx"), asm.Arg("dy"), asm.Arg("x"), asm.Arg("n")
		s.blocks("v", n, []GPVirtual{d, y, x}, func(_, off int, k Op) {
			v := s.read(x, off, k)
			sign := s.Vec()
			_, q, e := s.phi(v)
			h := s.set(c(0.5))
			VSUBPS(q, h, h)
			s.and(bits(0x80000000), v, sign)
			s.or(sign, h, h)
			VADDPS(c(0.5), h, h) // Phi(x)
			VMULPS(c(1/math.Sqrt(2*math.Pi)), e, e)
			VFMADD231PS(e, v, h)
			VMULPS(s.read(y, off, k), h, h)
			s.write(h, d, off, k)
		})
		asm.End()
	}
}

func (s isa) adamw() {
	s.Func("adamw", "func(p, m, v, grad *float32, n int, gradScale, keep1, mix1, keep2, mix2, step, root, eps, decay float32)")
	p, m, v, g, n := asm.Arg("p"), asm.Arg("m"), asm.Arg("v"), asm.Arg("grad"), asm.Arg("n")
	gs, keep1, mix1 := s.splat("gradScale"), s.splat("keep1"), s.splat("mix1")
	keep2, mix2 := s.splat("keep2"), s.splat("mix2")
	step, root, eps, decay := s.splat("step"), s.splat("root"), s.splat("eps"), s.splat("decay")
	s.blocks("v", n, []GPVirtual{p, m, v, g}, func(_, off int, k Op) {
		gv, mv, t := s.read(g, off, k), s.read(m, off, k), s.Vec()
		VMULPS(gs, gv, gv)
		VMULPS(keep1, mv, mv)
		VFMADD231PS(gv, mix1, mv)
		s.write(mv, m, off, k)
		VMULPS(gv, gv, gv)
		vv := s.read(v, off, k)
		VMULPS(keep2, vv, vv)
		VFMADD231PS(gv, mix2, vv)
		s.write(vv, v, off, k)
		VSQRTPS(vv, t)
		VFMADD213PS(eps, root, t) // sqrt(v)*root + eps
		VMULPS(step, mv, mv)
		VDIVPS(t, mv, mv)
		pv := s.read(p, off, k)
		VFMSUB213PS(mv, decay, pv)
		s.write(pv, p, off, k)
	})
	asm.End()
}

// result stores lane 0 of v as the function's result and returns.
func result(v VecVirtual) {
	Store(v.AsX(), ReturnIndex(0))
	asm.End()
}

func (s isa) sums() {
	one := func(name string, f func(v, acc VecVirtual)) {
		s.Func(name, "func(x *float32, n int) float32")
		x, n := asm.Arg("x"), asm.Arg("n")
		acc := s.partial(s.Zero)
		s.blocks("v", n, []GPVirtual{x}, func(h, off int, k Op) { f(s.read(x, off, k), acc[h]) })
		result(s.fold(acc, add))
	}
	one("sum", func(v, acc VecVirtual) { VADDPS(v, acc, acc) })
	two := func(name string, f func(a, b, acc VecVirtual)) {
		s.Func(name, "func(a, b *float32, n int) float32")
		a, b, n := asm.Arg("a"), asm.Arg("b"), asm.Arg("n")
		acc := s.partial(s.Zero)
		s.blocks("v", n, []GPVirtual{a, b}, func(h, off int, k Op) { f(s.read(a, off, k), s.read(b, off, k), acc[h]) })
		result(s.fold(acc, add))
	}
	two("dot", func(a, b, acc VecVirtual) { VFMADD231PS(a, b, acc) })
	two("absDiff", func(a, b, acc VecVirtual) {
		VSUBPS(b, a, a)
		s.and(bits(0x7fffffff), a, a)
		VADDPS(a, acc, acc)
	})
}

// rowMax is the largest of n floats in every lane; NaN are passed over.
func (s isa) rowMax(name string, x, n GPVirtual) VecVirtual {
	acc := s.partial(func() VecVirtual { return s.set(bits(0xff800000)) })
	p := asm.Copy(x)
	s.blocks(name, n, []GPVirtual{p}, func(h, off int, k Op) {
		v := s.read(p, off, k)
		switch {
		case k == nil:
			VMAXPS(acc[h], v, acc[h])
		case s.Wide():
			VMAXPS(acc[h], v, k, acc[h])
		default:
			VMAXPS(acc[h], v, v)
			VBLENDVPS(k, v, acc[h], acc[h])
		}
	})
	return s.foldAll(acc, top)
}

func (s isa) softmax() {
	s.Func("softmax", "func(dst, x *float32, n int, scale float32)")
	{
		d, x, n, scale := asm.Arg("dst"), asm.Arg("x"), asm.Arg("n"), s.splat("scale")
		m := s.rowMax("m", x, n)
		VMULPS(scale, m, m)
		sum := s.partial(s.Zero)
		p := asm.Copy(d)
		s.blocks("e", n, []GPVirtual{x, p}, func(h, off int, k Op) {
			v := s.read(x, off, k)
			VFMSUB213PS(m, scale, v)
			s.expShare(v)
			s.only(k, v)
			s.write(v, p, off, k)
			VADDPS(v, sum[h], sum[h])
		})
		total, f := s.foldAll(sum, add), s.set(c(1))
		VDIVPS(total, f, f)
		s.blocks("d", n, []GPVirtual{d}, func(_, off int, k Op) {
			v := s.read(d, off, k)
			VMULPS(f, v, v)
			s.write(v, d, off, k)
		})
		asm.End()
	}
	s.Func("expSum", "func(x *float32, n int) (largest, sum float32)")
	{
		x, n := asm.Arg("x"), asm.Arg("n")
		m := s.rowMax("m", x, n)
		Store(m.AsX(), ReturnIndex(0))
		sum := s.partial(s.Zero)
		s.blocks("e", n, []GPVirtual{x}, func(h, off int, k Op) {
			v := s.read(x, off, k)
			VSUBPS(m, v, v)
			s.expShare(v)
			s.only(k, v)
			VADDPS(v, sum[h], sum[h])
		})
		Store(s.fold(sum, add).AsX(), ReturnIndex(1))
		asm.End()
	}
	s.Func("softmaxBackward", "func(dx, dy, y *float32, n int, scale float32)")
	{
		dx, dy, y, n, scale := asm.Arg("dx"), asm.Arg("dy"), asm.Arg("y"), asm.Arg("n"), s.splat("scale")
		acc := s.partial(s.Zero)
		p, q := asm.Copy(dy), asm.Copy(y)
		s.blocks("s", n, []GPVirtual{p, q}, func(h, off int, k Op) {
			VFMADD231PS(s.read(p, off, k), s.read(q, off, k), acc[h])
		})
		sum := s.foldAll(acc, add)
		s.blocks("d", n, []GPVirtual{dx, dy, y}, func(_, off int, k Op) {
			v := s.read(dy, off, k)
			VSUBPS(sum, v, v)
			VMULPS(s.read(y, off, k), v, v)
			VMULPS(scale, v, v)
			s.write(v, dx, off, k)
		})
		asm.End()
	}
}

func (s isa) layerNorm() {
	s.Func("layerNorm", "func(dst, x, w, b *float32, n int, inv, eps float32) (mean, rstd float32)")
	{
		d, x, w, b, n := asm.Arg("dst"), asm.Arg("x"), asm.Arg("w"), asm.Arg("b"), asm.Arg("n")
		inv, eps := s.splat("inv"), s.splat("eps")
		acc := s.partial(s.Zero)
		p := asm.Copy(x)
		s.blocks("s", n, []GPVirtual{p}, func(h, off int, k Op) {
			VADDPS(s.read(p, off, k), acc[h], acc[h])
		})
		mean := s.foldAll(acc, add)
		VMULPS(inv, mean, mean)
		Store(mean.AsX(), ReturnIndex(0))
		squares := s.partial(s.Zero)
		MOVQ(x, p)
		s.blocks("q", n, []GPVirtual{p}, func(h, off int, k Op) {
			v := s.read(p, off, k)
			VSUBPS(mean, v, v)
			s.only(k, v)
			VFMADD231PS(v, v, squares[h])
		})
		r, one := s.foldAll(squares, add), s.set(c(1))
		VFMADD213PS(eps, inv, r)
		VSQRTPS(r, r)
		VDIVPS(r, one, r)
		Store(r.AsX(), ReturnIndex(1))
		s.blocks("w", n, []GPVirtual{d, x, w, b}, func(_, off int, k Op) {
			v, bv := s.read(x, off, k), s.read(b, off, k)
			VSUBPS(mean, v, v)
			VMULPS(r, v, v)
			VFMADD132PS(s.read(w, off, k), bv, v)
			s.write(v, d, off, k)
		})
		asm.End()
	}
	s.Func("layerNormBackward", "func(dx, dy, x, w, dw, db, plus *float32, n int, inv, mean, rstd float32)")
	{
		dx, dy, x, w, n := asm.Arg("dx"), asm.Arg("dy"), asm.Arg("x"), asm.Arg("w"), asm.Arg("n")
		mean, rstd := s.splat("mean"), s.splat("rstd")
		normal := func(x GPVirtual, off int, k Op) VecVirtual {
			v := s.read(x, off, k)
			VSUBPS(mean, v, v)
			VMULPS(rstd, v, v)
			return v
		}
		a1, a2 := s.partial(s.Zero), s.partial(s.Zero)
		px, py, pw := asm.Copy(x), asm.Copy(dy), asm.Copy(w)
		s.blocks("s", n, []GPVirtual{px, py, pw}, func(h, off int, k Op) {
			v, gr := normal(px, off, k), s.read(py, off, k)
			s.only(k, v)
			VMULPS(s.read(pw, off, k), gr, gr)
			VADDPS(gr, a1[h], a1[h])
			VFMADD231PS(v, gr, a2[h])
		})
		c1, c2, inv := s.foldAll(a1, add), s.foldAll(a2, add), s.splat("inv")
		VMULPS(inv, c1, c1)
		VMULPS(inv, c2, c2)
		dw, db, plus := asm.Arg("dw"), asm.Arg("db"), asm.Arg("plus")
		rows := func(name string, more []GPVirtual) {
			s.blocks(name, n, append([]GPVirtual{dx, dy, x, w, dw, db}, more...), func(_, off int, k Op) {
				v, gr := normal(x, off, k), s.read(dy, off, k)
				t := s.read(db, off, k)
				VADDPS(gr, t, t)
				s.write(t, db, off, k)
				u := s.read(dw, off, k)
				VFMADD231PS(gr, v, u)
				s.write(u, dw, off, k)
				VMULPS(s.read(w, off, k), gr, gr)
				VSUBPS(c1, gr, gr)
				VFNMADD231PS(c2, v, gr)
				if len(more) > 0 {
					VFMADD213PS(s.read(plus, off, k), rstd, gr)
				} else {
					VMULPS(rstd, gr, gr)
				}
				s.write(gr, dx, off, k)
			})
			asm.End()
		}
		TESTQ(plus, plus)
		JNZ(LabelRef("add"))
		rows("set", nil)
		Label("add")
		rows("plus", []GPVirtual{plus})
	}
}
