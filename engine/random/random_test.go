package random

import (
	"math"
	"testing"
)

// The numbers are part of what makes a run repeatable: changing them changes
// the results of every run on disk.
func TestKnownNumbers(t *testing.T) {
	s := New(1, "flip", 2, 3)
	got := [2]uint64{s.Uint64(), s.Uint64()}
	want := [2]uint64{0x13fd168840a0ca5c, 0xb8f6a20d695c418e}
	if got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestKeysAreIndependent(t *testing.T) {
	seen := map[uint64]string{}
	add := func(what string, v uint64) {
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s start with the same number", what, other)
		}
		seen[v] = what
	}
	add("seed 0", New(0, "a").Uint64())
	add("seed 1", New(1, "a").Uint64())
	add("purpose", New(0, "b").Uint64())
	add("no counter", New(0, "a", 0).Uint64())
	add("two counters", New(0, "a", 0, 1).Uint64())
	add("swapped", New(0, "a", 1, 0).Uint64())

	// Neighbouring counters must not correlate.
	const n = 20000
	var sx, sxy float64
	prev := 0.0
	for i := range n {
		x := New(7, "corr", uint64(i)).Float64() - 0.5
		sx += x
		sxy += x * prev
		prev = x
	}
	if m := sx / n; math.Abs(m) > 4*0.2887/math.Sqrt(n) {
		t.Errorf("mean of first numbers %v", m)
	}
	if c := sxy / n; math.Abs(c) > 4*(1./12)/math.Sqrt(n) {
		t.Errorf("correlation of neighbours %v", c)
	}
}

func TestResetStartsOverAndDoesNotAllocate(t *testing.T) {
	s := New(3, "x", 4)
	a := s.NormFloat64()
	s.Uint64()
	s.Reset(3, "x", 4)
	if b := s.NormFloat64(); a != b {
		t.Errorf("after Reset %v, before %v", b, a)
	}
	if n := testing.AllocsPerRun(100, func() { s.Reset(3, "x", 4, 5); s.Float64() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
