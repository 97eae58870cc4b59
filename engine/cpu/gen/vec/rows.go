package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"hatchery/engine/cpu/gen/asm"
)

// rowMax returns a vector with the largest of n floats in every lane. It ignores NaNs.
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
			s.clearInvalid(k, v)
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
			s.clearInvalid(k, v)
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
			s.clearInvalid(k, v)
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
