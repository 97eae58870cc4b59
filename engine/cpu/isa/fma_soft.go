//go:build !arm64

package isa

import "math"

// FMA returns a*b + c rounded once, like the float32 instruction of a CPU.
//
// The product is exact in float64. The sum may not be, and rounding it to
// float64 and then to float32 can differ from rounding once, if the first
// rounding gives the middle between two float32. Then the sum is rounded to
// odd instead (Boldo and Melquiond, "Emulation of FMA and correctly rounded
// sums: proved algorithms using rounding to odd", 2008), that is, to that one of the two neighbouring
// float64 whose last bit is odd. From there the second rounding is right.
func FMA(a, b, c float32) float32 {
	p, z := float64(a)*float64(b), float64(c)
	s := p + z
	bits := math.Float64bits(s)
	// The result is a normal float32, and s is not the middle between two.
	if exp := bits >> 52 & 0x7ff; exp-(1023-126) < 253 && bits&(1<<29-1) != 1<<28 {
		return float32(s)
	}
	// The exact error of the sum (Knuth). It is NaN if s is NaN or infinite.
	t := s - p
	e := (p - (s - t)) + (z - t)
	if bits&1 == 0 && e == e && e != 0 {
		if (e > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
	}
	return float32(math.Float64frombits(bits))
}
