package isa

import (
	"math"
	"math/big"
	"testing"

	"hatchery/engine/random"
)

// exact returns a*b+c in exact arithmetic, rounded once.
func exact(a, b, c float32) float32 {
	p := float64(a) * float64(b) // exact
	if math.IsNaN(p+float64(c)) || math.IsInf(p+float64(c), 0) {
		return float32(p + float64(c))
	}
	if p+float64(c) == 0 {
		return float32(p + float64(c)) // big.Float has its own signs of zero
	}
	s := new(big.Float).SetPrec(1000).SetFloat64(p)
	f, _ := s.Add(s, new(big.Float).SetFloat64(float64(c))).Float32()
	return f
}

func TestFMA(t *testing.T) {
	check := func(a, b, c float32) bool {
		t.Helper()
		got, want := FMA(a, b, c), exact(a, b, c)
		if math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
			t.Errorf("FMA(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
		return float32(float64(a)*float64(b)+float64(c)) == want
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	odd := []float32{0, float32(math.Copysign(0, -1)), 1, -1, inf, -inf, nan, math.MaxFloat32, -math.MaxFloat32,
		math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, 0x1.fffffep-127, 0x1p-75, 0x1p-24, 1 + 0x1p-23}
	for _, a := range odd {
		for _, b := range odd {
			for _, c := range odd {
				check(a, b, c)
			}
		}
	}
	r := random.New(1, "fma")
	differ := 0
	for range 300_000 {
		// The product is beside half a unit in the last place of c, so the
		// sum is beside the middle between two floats.
		scale := float32(math.Exp2(float64(r.IntN(240) - 170)))
		a := (1 + float32(r.IntN(4))*0x1p-23) * scale
		b := 1 - float32(r.IntN(4))*0x1p-23
		c := (0x1p24 + 2*float32(r.IntN(1<<22))) * scale * float32(1-2*r.IntN(2))
		if !check(a, b, c) {
			differ++
		}
		check(math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()))
	}
	if differ == 0 {
		t.Error("no case tried needs more than float64 arithmetic: the test shows nothing")
	}
}

func TestUse(t *testing.T) {
	before := Current()
	defer Use(before)
	for l := Go; l <= Best(); l++ {
		if _, err := Use(l); err != nil || Current() != l {
			t.Errorf("using %v gives %v and %v", l, Current(), err)
		}
	}
	if _, err := Use(Best() + 1); err == nil {
		t.Error("a level beyond the best is accepted")
	}
}
