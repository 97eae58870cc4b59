//go:build !amd64

package gemm

import "hatchery/engine/cpu/isa"

func tiles(_ isa.Level, nv int, g *tileArgs) { tilesGo(nv, g) }

func copyRows(_ isa.Level, nv int, dst, src *float32, dstride, dvec, stride uintptr, k, last int) {
	copyGo(nv, dst, src, dstride, dvec, stride, k, last)
}

func transpose(_ isa.Level, dst, src *float32, dstride, stride uintptr, rows, k int) {
	transposeGo(dst, src, dstride, stride, rows, k)
}
