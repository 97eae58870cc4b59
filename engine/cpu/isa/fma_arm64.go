package isa

// FMA is a*b + c rounded once. Go may compile it to two instructions, and does
// compile it to one, which TestFMA would notice.
func FMA(a, b, c float32) float32 { return a*b + c }
