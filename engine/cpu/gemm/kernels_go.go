package gemm

import (
	"unsafe"

	"hatchery/engine/cpu/isa"
)

// tilesGo, copyGo and transposeGo do in Go what the assembly kernels do, for vectors of 16
// floats.

func tilesGo(nv int, g *tileArgs) {
	width := nv * 16
	lanes := width - 16 + g.last
	for range g.tiles * g.rows {
		var buf [48]float32
		acc := buf[:width]
		for k := range uintptr(g.k) {
			a := *(*float32)(unsafe.Add(g.a, g.atA+k*g.csa))
			b := unsafe.Slice((*float32)(unsafe.Add(g.b, k*g.rsb)), width)
			for j := range acc {
				acc[j] = isa.FMA(a, b[j], acc[j])
			}
		}
		c := unsafe.Slice((*float32)(unsafe.Add(g.c, g.atC)), lanes)
		for j := range c {
			v := float32(g.alpha * acc[j])
			if g.beta != 0 {
				v = isa.FMA(g.beta, *(*float32)(unsafe.Add(g.d, g.atD+4*uintptr(j))), v)
			}
			c[j] = v
		}
		g.atA, g.atC, g.atD = g.atA+g.rsa, g.atC+g.rsc, g.atD+g.rsd
	}
}

func copyGo(nv int, dst, src *float32, dstride, dvec, stride uintptr, k, last int) {
	for i := range uintptr(k) {
		row := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(src), i*stride)), nv*16-16+last)
		for v := range uintptr(nv) {
			to := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(dst), i*dstride+v*dvec)), 16)
			clear(to[copy(to, row[16*v:]):])
		}
	}
}

func transposeGo(dst, src *float32, dstride, stride uintptr, rows, k int) {
	for i := range uintptr(k) {
		d := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(dst), i*dstride)), 16)
		for j := range d {
			d[j] = *(*float32)(unsafe.Add(unsafe.Pointer(src), uintptr(min(j, rows-1))*stride+4*i))
		}
	}
}
