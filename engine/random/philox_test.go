package random

import (
	"math"
	"slices"
	"testing"
)

// The known answers that come with the authors' Random123 library.
func TestPhiloxKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		key           uint64
		counter, want [4]uint32
	}{
		{0, [4]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{math.MaxUint64, [4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{0x299f31d0a4093822, [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Philox(c.key, c.counter); got != c.want {
			t.Errorf("key %#x, counter %#x: got %#x, want %#x", c.key, c.counter, got, c.want)
		}
	}
}

func TestNormalNoiseHasItsMoments(t *testing.T) {
	const n = 1 << 18
	z := make([]float32, n)
	FillNormal(z, 0x0123456789abcdef, 0)
	var m [5]float64 // sums of powers
	var pairs, tail float64
	for i, v := range z {
		x := float64(v)
		for p := range m {
			m[p] += math.Pow(x, float64(p)) / n
		}
		if i > 0 {
			pairs += x * float64(z[i-1]) / n
		}
		if math.Abs(x) > 2 {
			tail += 1.0 / n
		}
	}
	// The standard deviation of a mean of x^p is sqrt(E x^2p - (E x^p)²) / √n.
	for _, c := range []struct {
		what            string
		got, want, sdev float64
	}{
		{"mean", m[1], 0, 1},
		{"variance", m[2], 1, math.Sqrt(2)},
		{"third moment", m[3], 0, math.Sqrt(15)},
		{"fourth moment", m[4], 3, math.Sqrt(96)},
		{"covariance of neighbours", pairs, 0, 1},
		{"share beyond 2", tail, math.Erfc(math.Sqrt2), math.Sqrt(0.0455 * 0.9545)},
	} {
		if math.Abs(c.got-c.want) > 4*c.sdev/math.Sqrt(n) {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestPartOfNoiseEqualsWhole(t *testing.T) {
	whole := make([]float32, 40)
	const far = 1<<34 - 8 // where the counter leaves its first word
	FillNormal(whole, 7, far)
	for lo := range 9 {
		for hi := lo; hi < len(whole); hi += 3 {
			part := make([]float32, hi-lo)
			FillNormal(part, 7, far+uint64(lo))
			if !slices.Equal(part, whole[lo:hi]) {
				t.Fatalf("numbers %d to %d differ from those of the whole", lo, hi)
			}
		}
	}
	other := make([]float32, len(whole))
	FillNormal(other, 8, far)
	if slices.Equal(other, whole) {
		t.Error("two keys give the same noise")
	}
	if n := testing.AllocsPerRun(10, func() { FillNormal(whole, 7, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
