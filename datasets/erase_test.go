package datasets

import (
	"math"
	"testing"

	"hatchery/engine/random"
)

func TestEraseStatistics(t *testing.T) {
	const n, h, w = 40000, 64, 48
	a := Augment{Reprob: 0.25}
	var s random.Stream
	var erased, area, square, tall, centre float64
	keys := map[uint64]bool{}
	for i := range n {
		s.Reset(1, "test", uint64(i))
		e := a.drawErase(&s, h, w)
		if e.Key == 0 {
			if e != (Erase{}) {
				t.Fatalf("%+v", e)
			}
			continue
		}
		erased++
		keys[e.Key] = true
		eh, ew := float64(e.Y1-e.Y0), float64(e.X1-e.X0)
		if e.Y0 < 0 || e.X0 < 0 || e.Y1 > h || e.X1 > w || eh <= 0 || ew <= 0 || eh >= h || ew >= w {
			t.Fatalf("%+v", e)
		}
		share := eh * ew / (h * w)
		area += share
		square += share * share
		if eh > ew {
			tall++
		}
		centre += float64(e.Y0+e.Y1)/(2*h) + float64(e.X0+e.X1)/(2*w)
	}
	if p := erased / n; math.Abs(p-0.25) > 4*math.Sqrt(0.25*0.75/n) {
		t.Errorf("share of erased images %v", p)
	}
	if len(keys) != int(erased) {
		t.Errorf("%d keys for %v images", len(keys), erased)
	}
	// timm's figures are from 400,000 draws of its code (testdata/erasing.py).
	for _, f := range []struct {
		name             string
		got, want, slack float64
	}{
		{"area", area / erased, 0.1724, 4 * 0.09 / math.Sqrt(erased)},
		{"square of the area", square / erased, 0.03766, 4 * 0.04 / math.Sqrt(erased)},
		{"share of tall boxes", tall / erased, 0.5056, 4 * 0.5 / math.Sqrt(erased)},
		{"centre", centre / erased, 1, 4 * 0.35 / math.Sqrt(erased)},
	} {
		if math.Abs(f.got-f.want) > f.slack {
			t.Errorf("%s is %v, timm's is %v, want within %v", f.name, f.got, f.want, f.slack)
		}
	}
}

// The box is filled with normal noise that differs between channels and pixels; pixels
// outside it do not change.
func TestEraseApplies(t *testing.T) {
	const channels, h, w = 3, 40, 30
	e := Erase{Y0: 5, Y1: 35, X0: 3, X1: 28, Key: 77}
	image := make([]float32, channels*h*w)
	for i := range image {
		image[i] = 100
	}
	e.apply(image, h, w)
	seen := map[float32]bool{}
	var n, sum, square float64
	for i, v := range image {
		y, x := i/w%h, i%w
		if y < 5 || y >= 35 || x < 3 || x >= 28 {
			if v != 100 {
				t.Fatalf("pixel (%d, %d) outside the box is %v", y, x, v)
			}
			continue
		}
		var want [1]float32
		random.FillNormal(want[:], e.Key, uint64(i))
		if v != want[0] {
			t.Fatalf("value %d is %v, want number %d under the key, %v", i, v, i, want[0])
		}
		seen[v] = true
		n++
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	if n != channels*30*25 || len(seen) < int(n)-5 {
		t.Errorf("%v values, %d different ones", n, len(seen))
	}
	if m := sum / n; math.Abs(m) > 4/math.Sqrt(n) {
		t.Errorf("mean %v", m)
	}
	if v := square / n; math.Abs(v-1) > 4*math.Sqrt(2/n) {
		t.Errorf("variance %v", v)
	}
}
