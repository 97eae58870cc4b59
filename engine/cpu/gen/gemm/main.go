// Command gemm generates the kernels of engine/cpu/gemm: for each instruction set, a column
// of tiles of C for each panel width, and the packing of B.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"hatchery/engine/cpu/gen/asm"
)

// Maximum rows of a tile that is i+1 vectors wide: as many as fit into the registers
// together with one row of B and one element of A.
var (
	rows512 = []int{8, 14, 8}
	rows256 = []int{6, 6}
)

func main() {
	ConstraintExpr("amd64")
	for i, rows := range rows512 {
		tiles(asm.AVX512, i+1, rows)
		copyRows(asm.AVX512, i+1)
	}
	transpose(asm.AVX512)
	for i, rows := range rows256 {
		tiles(asm.AVX2, i+1, rows)
		copyRows(asm.AVX2, i+1)
	}
	transpose(asm.AVX2)
	asm.Masks()
	Generate()
}

// Offsets into gemm.tileArgs.
const (
	argA, argB, argC, argD           = 0, 8, 16, 24
	argRSA, argCSA, argRSB           = 32, 40, 48
	argRSC, argRSD                   = 56, 64
	argK, argRows, argTiles, argLast = 72, 80, 88, 96
	argAlpha, argBeta                = 104, 108
	argAtA, argAtC, argAtD           = 112, 120, 128
)

const rowsOfPointer = 3 // rows of A that one address register reaches

// tiles computes a column of tiles, each of `rows` rows and nv vectors:
// C = alpha*A*B + beta*D. It reads A in place, with any strides, and row k of
// B at b + k*rsb, whole vectors; the last vector of C and D has only
// `last` lanes.
func tiles(s asm.ISA, nv, most int) {
	s.Func(fmt.Sprintf("tilesOf%d_", nv), "func(args *byte)")
	p := asm.Arg("args")
	arg := func(off int) Mem { return Mem{Base: p, Disp: off} }
	load := func(off int) GPVirtual { r := GP64(); MOVQ(arg(off), r); return r }
	rows := load(argRows)
	for mr := 1; mr < most; mr++ {
		CMPQ(rows, Imm(uint64(mr)))
		JEQ(LabelRef(fmt.Sprintf("rows%d", mr)))
	}
	for mr := most; mr > 0; mr-- {
		label := fmt.Sprintf("rows%d", mr)
		Label(label)
		tile(s, mr, nv, label, arg, load)
		DECQ(arg(argTiles))
		JNZ(LabelRef(label))
		asm.End()
	}
}

func tile(s asm.ISA, mr, nv int, name string, arg func(int) Mem, load func(int) GPVirtual) {
	a := make([]GPVirtual, (mr+rowsOfPointer-1)/rowsOfPointer)
	a[0] = load(argA)
	ADDQ(arg(argAtA), a[0])
	rsa := load(argRSA)
	for i := 1; i < len(a); i++ {
		a[i] = GP64()
		LEAQ(Mem{Base: a[i-1], Index: rsa, Scale: 2}, a[i])
		ADDQ(rsa, a[i])
	}
	row := func(i int) Mem {
		m := Mem{Base: a[i/rowsOfPointer]}
		if r := i % rowsOfPointer; r > 0 {
			m.Index, m.Scale = rsa, uint8(r)
		}
		return m
	}
	{ // prefetch the tile of C
		c, rsc := load(argC), load(argRSC)
		ADDQ(arg(argAtC), c)
		for i := 0; i < mr; i++ {
			for j := 0; j < nv*s.Bytes(); j += 64 {
				PREFETCHT0(Mem{Base: c, Disp: j})
			}
			ADDQ(rsc, c)
		}
	}
	acc := make([]VecVirtual, mr*nv)
	for i := range acc {
		acc[i] = s.Zero()
	}
	b, csa, rsb := load(argB), load(argCSA), load(argRSB)
	bv := make([]VecVirtual, nv)
	for j := range bv {
		bv[j] = s.Vec()
	}
	step := func() {
		for j := range bv {
			VMOVUPS(Mem{Base: b, Disp: j * s.Bytes()}, bv[j])
		}
		ADDQ(rsb, b)
		for i := 0; i < mr; i++ {
			if s.Wide() && nv == 1 {
				VFMADD231PS_BCST(row(i), bv[0], acc[i])
				continue
			}
			av := s.Vec()
			VBROADCASTSS(row(i), av)
			for j := range bv {
				VFMADD231PS(av, bv[j], acc[i*nv+j])
			}
		}
		for i := range a {
			ADDQ(csa, a[i])
		}
	}
	k := load(argK)
	SHRQ(Imm(1), k)
	JZ(LabelRef(name + "odd"))
	Label(name + "pair")
	step()
	step()
	DECQ(k)
	JNZ(LabelRef(name + "pair"))
	Label(name + "odd")
	TESTB(U8(1), arg(argK))
	JZ(LabelRef(name + "write"))
	step()
	Label(name + "write")

	alpha := s.Vec()
	VBROADCASTSS(arg(argAlpha), alpha)
	for i := range acc {
		VMULPS(alpha, acc[i], acc[i])
	}
	last := load(argLast)
	mask := s.Mask(last)
	lanes := func(j int) Op {
		if j == nv-1 {
			return mask
		}
		return nil
	}
	beta := GP32()
	MOVL(arg(argBeta), beta)
	TESTL(beta, beta)
	JZ(LabelRef(name + "store"))
	{
		d, rsd, be := load(argD), load(argRSD), s.Vec()
		ADDQ(arg(argAtD), d)
		VBROADCASTSS(arg(argBeta), be)
		for i := 0; i < mr; i++ {
			for j := 0; j < nv; j++ {
				t := s.Vec()
				s.Load(Mem{Base: d, Disp: j * s.Bytes()}, lanes(j), t)
				VFMADD231PS(t, be, acc[i*nv+j])
			}
			ADDQ(rsd, d)
		}
	}
	Label(name + "store")
	c, rsc := load(argC), load(argRSC)
	ADDQ(arg(argAtC), c)
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			s.Store(acc[i*nv+j], lanes(j), Mem{Base: c, Disp: j * s.Bytes()})
		}
		ADDQ(rsc, c)
	}
	for _, next := range [][2]int{{argAtA, argRSA}, {argAtC, argRSC}, {argAtD, argRSD}} {
		step := GP64()
		IMUL3Q(Imm(uint64(mr)), arg(next[1]), step)
		ADDQ(step, arg(next[0]))
	}
}

// copyRows copies, for each of k rows, the nv vectors of row i of src to dst + i*dstride,
// dvec apart. The last vector of src has only `last` lanes; the others become zero in dst.
// Strides are in bytes.
func copyRows(s asm.ISA, nv int) {
	s.Func(fmt.Sprintf("copy%d_", nv), "func(dst, src *float32, dstride, dvec, stride uintptr, k, last int)")
	dst, src, k := asm.Arg("dst"), asm.Arg("src"), asm.Arg("k")
	dstride, dvec, stride := asm.Arg("dstride"), asm.Arg("dvec"), asm.Arg("stride")
	lanes := make([]Op, nv)
	lanes[nv-1] = s.Mask(asm.Arg("last"))
	ahead := GP64() // the CPU does not prefetch rows that are far apart
	LEAQ(Mem{Base: src, Index: stride, Scale: 8}, ahead)
	Label("row")
	for i := 0; i < nv*s.Bytes(); i += 64 {
		PREFETCHT0(Mem{Base: ahead, Disp: i})
	}
	ADDQ(stride, ahead)
	v := make([]VecVirtual, nv)
	for i := range v {
		v[i] = s.Vec()
		s.Load(Mem{Base: src, Disp: i * s.Bytes()}, lanes[i], v[i])
	}
	ADDQ(stride, src)
	for i := range v {
		to := Mem{Base: dst}
		if i > 0 {
			to.Index, to.Scale = dvec, uint8(i)
		}
		VMOVUPS(v[i], to)
	}
	ADDQ(dstride, dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	asm.End()
}

// transpose writes dst[i*dstride + j] = src[j*stride + i] for i < k and
// j < lanes, in blocks of `lanes` rows of dst, so that up to lanes-1 rows of
// dst after the k-th are written too. If src has fewer than `lanes` rows, the
// last one is repeated. Strides are in bytes.
func transpose(s asm.ISA) {
	n := s.Lanes
	s.Func("transpose", "func(dst, src *float32, dstride, stride uintptr, rows, k int)")
	dst, src := asm.Arg("dst"), asm.Arg("src")
	dstride, stride := asm.Arg("dstride"), asm.Arg("stride")
	rows, k := asm.Arg("rows"), asm.Arg("k")
	zero := GP64()
	XORQ(zero, zero)
	block := func(mask Op) {
		p, left, st := asm.Copy(src), asm.Copy(rows), GP64()
		vecs := func() []VecVirtual {
			v := make([]VecVirtual, n)
			for i := range v {
				v[i] = s.Vec()
			}
			return v
		}
		r, t, u, out := vecs(), vecs(), vecs(), vecs()
		for i := range r {
			s.Load(Mem{Base: p}, mask, r[i])
			MOVQ(stride, st)
			DECQ(left)
			CMOVQLE(zero, st)
			ADDQ(st, p)
		}
		for i := 0; i < n; i += 2 {
			VUNPCKLPS(r[i+1], r[i], t[i])
			VUNPCKHPS(r[i+1], r[i], t[i+1])
		}
		for i := 0; i < n; i += 4 {
			for h := 0; h < 2; h++ {
				VUNPCKLPD(t[i+2+h], t[i+h], u[i+2*h])
				VUNPCKHPD(t[i+2+h], t[i+h], u[i+2*h+1])
			}
		}
		for c := 0; c < 4; c++ { // u[4g+c] holds in 128-bit lane l column 4l+c of rows 4g..4g+3
			if !s.Wide() {
				VPERM2F128(Imm(0x20), u[4+c], u[c], out[c])
				VPERM2F128(Imm(0x31), u[4+c], u[c], out[4+c])
				continue
			}
			x := [4]VecVirtual{s.Vec(), s.Vec(), s.Vec(), s.Vec()}
			for h := 0; h < 2; h++ {
				VSHUFF32X4(Imm(0x88), u[8*h+4+c], u[8*h+c], x[2*h])
				VSHUFF32X4(Imm(0xdd), u[8*h+4+c], u[8*h+c], x[2*h+1])
			}
			VSHUFF32X4(Imm(0x88), x[2], x[0], out[c])
			VSHUFF32X4(Imm(0x88), x[3], x[1], out[4+c])
			VSHUFF32X4(Imm(0xdd), x[2], x[0], out[8+c])
			VSHUFF32X4(Imm(0xdd), x[3], x[1], out[12+c])
		}
		for i := range out {
			VMOVUPS(out[i], Mem{Base: dst})
			ADDQ(dstride, dst)
		}
	}
	Label("block")
	CMPQ(k, Imm(uint64(n)))
	JLT(LabelRef("tail"))
	block(nil)
	ADDQ(Imm(uint64(s.Bytes())), src)
	SUBQ(Imm(uint64(n)), k)
	JMP(LabelRef("block"))
	Label("tail")
	TESTQ(k, k)
	JZ(LabelRef("done"))
	block(s.Mask(k))
	Label("done")
	asm.End()
}
