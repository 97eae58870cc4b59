package gemm

import (
	"unsafe"

	"hatchery/engine/cpu/isa"
)

// tiles calls the kernels directly, not through a variable, so that g stays on the stack.
func tiles(l isa.Level, nv int, g *tileArgs) {
	p := (*byte)(unsafe.Pointer(g))
	switch {
	case l == isa.Go:
		tilesGo(nv, g)
	case l == isa.AVX512 && nv == 3:
		tilesOf3_512(p)
	case l == isa.AVX512 && nv == 2:
		tilesOf2_512(p)
	case l == isa.AVX512:
		tilesOf1_512(p)
	case nv == 2:
		tilesOf2_256(p)
	default:
		tilesOf1_256(p)
	}
}

func copyRows(l isa.Level, nv int, dst, src *float32, dstride, dvec, stride uintptr, k, last int) {
	switch {
	case l == isa.Go:
		copyGo(nv, dst, src, dstride, dvec, stride, k, last)
	case l == isa.AVX512 && nv == 3:
		copy3_512(dst, src, dstride, dvec, stride, k, last)
	case l == isa.AVX512 && nv == 2:
		copy2_512(dst, src, dstride, dvec, stride, k, last)
	case l == isa.AVX512:
		copy1_512(dst, src, dstride, dvec, stride, k, last)
	case nv == 2:
		copy2_256(dst, src, dstride, dvec, stride, k, last)
	default:
		copy1_256(dst, src, dstride, dvec, stride, k, last)
	}
}

func transpose(l isa.Level, dst, src *float32, dstride, stride uintptr, rows, k int) {
	switch l {
	case isa.AVX512:
		transpose512(dst, src, dstride, stride, rows, k)
	case isa.AVX2:
		transpose256(dst, src, dstride, stride, rows, k)
	default:
		transposeGo(dst, src, dstride, stride, rows, k)
	}
}
