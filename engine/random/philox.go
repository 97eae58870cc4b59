package random

import "math"

// Philox is the counter-based generator Philox4x32-10 (Salmon, Moraes, Dror and
// Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): four words that
// are a function of a key and a counter. The GPU's kernels compute the same.
func Philox(key uint64, counter [4]uint32) [4]uint32 {
	k0, k1 := uint32(key), uint32(key>>32)
	c := counter
	for range 10 {
		p0, p1 := uint64(c[0])*0xd2511f53, uint64(c[2])*0xcd9e8d57
		c = [4]uint32{uint32(p1>>32) ^ c[1] ^ k0, uint32(p1), uint32(p0>>32) ^ c[3] ^ k1, uint32(p0)}
		k0, k1 = k0+0x9e3779b9, k1+0xbb67ae85
	}
	return c
}

// FillNormal fills dst with numbers first, first+1, ... of the normal noise of
// a key: mean 0, variance 1. Numbers 4i to 4i+3 come from Philox at the counter
// i by Box and Muller's transform, so any part of the noise can be had alone.
func FillNormal(dst []float32, key, first uint64) {
	for len(dst) > 0 {
		z := normals(key, first/4)
		n := copy(dst, z[first%4:])
		dst, first = dst[n:], first+uint64(n)
	}
}

// normals returns numbers 4i to 4i+3.
func normals(key, i uint64) (z [4]float32) {
	w := Philox(key, [4]uint32{uint32(i), uint32(i >> 32)})
	for j := 0; j < 4; j += 2 {
		r := math.Sqrt(-2 * math.Log(unit(w[j])))
		sin, cos := math.Sincos(2 * math.Pi * unit(w[j+1]))
		z[j], z[j+1] = float32(r*cos), float32(r*sin)
	}
	return z
}

// unit maps a word to one of 2²³ numbers between 0 and 1, neither included,
// that float32 holds exactly.
func unit(w uint32) float64 { return (float64(w>>9) + 0.5) / (1 << 23) }
