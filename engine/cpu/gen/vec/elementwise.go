package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"hatchery/engine/cpu/gen/asm"
)

// exp replaces x, -104 <= x <= 89 or NaN, by e^x, with an error of at most 1 ulp:
// x = n*ln 2 + r, a polynomial in r (Cephes), times 2^n, rounded once.
func (s isa) exp(x VecVirtual) {
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
	// 2^n in two factors, because 2^n may not be a normal number.
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

// expShare replaces x <= 0 by e^x, or by 0 if that is less than e^-80: it is one term of a
// sum that is at least 1. This avoids denormal numbers, on which CPUs are very slow.
func (s isa) expShare(x VecVirtual) {
	const notLess = 0x15 // true for NaN
	if s.Wide() {
		k := K()
		VCMPPS(Imm(notLess), c(-80), x, k)
		VMAXPS(x, s.set(c(-80)), x)
		s.exp(x)
		VMOVAPS_Z(x, k, x)
		return
	}
	k := s.Vec()
	VCMPPS(Imm(notLess), c(-80), x, k)
	VMAXPS(x, s.set(c(-80)), x)
	s.exp(x)
	VANDPS(k, x, x)
}

func (s isa) elementwise() {
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
	s.Func("addScaled", "func(dst, a, b *float32, n int, s float32)")
	{
		d, a, b, n, x := asm.Arg("dst"), asm.Arg("a"), asm.Arg("b"), asm.Arg("n"), s.splat("s")
		s.blocks("v", n, []GPVirtual{d, a, b}, func(_, off int, k Op) {
			v, w := s.read(a, off, k), s.read(b, off, k)
			VFMADD231PS(x, w, v)
			s.write(v, d, off, k)
		})
		asm.End()
	}
}

// phi computes for x the lower tail q = Phi(-|x|), e = exp(-x*x/2) and a = |x|,
// with Abramowitz and Stegun 7.1.26, with an error of at most 1e-7. e is at least
// e^-80, which avoids denormal numbers, on which CPUs are very slow.
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
	s.exp(e)
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
