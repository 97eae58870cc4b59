package datasets

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/random"
)

// testdata/mixing.py makes the file from timm.
func TestMixingIsTimms(t *testing.T) {
	var golden struct {
		Boxes []struct {
			H, W           int
			Lam, Corrected float64
			Y, X           int
			Box            [4]int
		}
		Batches []struct {
			Name                   string
			Shape                  [4]int
			Classes                int
			Labels                 []int32
			Lam, Smoothing         float64
			Centre                 []int
			Images, Mixed, Targets []float32
		}
	}
	data, err := os.ReadFile("testdata/mixing.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Boxes) != 84 || len(golden.Batches) != 6 {
		t.Fatalf("%d boxes, %d batches", len(golden.Boxes), len(golden.Batches))
	}
	for _, g := range golden.Boxes {
		b := cutBox(g.H, g.W, g.Lam, g.Y, g.X)
		if want := (box{g.Box[0], g.Box[1], g.Box[2], g.Box[3]}); b != want {
			t.Errorf("%+v: box %v", g, b)
		}
		if lam := boxLambda(b, g.H, g.W); lam != g.Corrected {
			t.Errorf("%+v: lambda %v", g, lam)
		}
	}
	for _, g := range golden.Batches {
		spec := &Spec{Channels: g.Shape[1], Height: g.Shape[2], Width: g.Shape[3]}
		m := mixing{lambda: g.Lam}
		if g.Centre != nil {
			m.cut = true
			m.box = cutBox(spec.Height, spec.Width, g.Lam, g.Centre[0], g.Centre[1])
			m.lambda = boxLambda(m.box, spec.Height, spec.Width)
		}
		m.mixImages(g.Images, g.Shape[0], spec)
		if !slices.Equal(g.Images, g.Mixed) {
			t.Errorf("%s: images\n%v\nwant\n%v", g.Name, g.Images, g.Mixed)
		}
		targets := make([]float32, len(g.Targets))
		mixTargets(targets, g.Labels, g.Classes, m.lambda, g.Smoothing)
		if !slices.Equal(targets, g.Targets) {
			t.Errorf("%s: targets\n%v\nwant\n%v", g.Name, targets, g.Targets)
		}
	}
}

// The one-pass code against pad, crop, flip and normalise one after another.
func TestCropFlipNormalise(t *testing.T) {
	spec := &Spec{Channels: 2, Height: 5, Width: 7, Mean: []float32{0.3, 0.6}, Std: []float32{0.2, 0.5}}
	const pad = 3
	src := make([]uint8, spec.pixels())
	for i := range src {
		src[i] = uint8(i*73 + 11)
	}
	plain := func(g geometry) []float32 {
		h, w := spec.Height, spec.Width
		var out []float32
		for c := range spec.Channels {
			padded := make([][]uint8, h+2*pad)
			for y := range padded {
				padded[y] = make([]uint8, w+2*pad)
				if y >= pad && y < pad+h {
					copy(padded[y][pad:], src[(c*h+y-pad)*w:][:w])
				}
			}
			for y := range h {
				row := slices.Clone(padded[y+g.y+pad][g.x+pad:][:w])
				if g.flip {
					slices.Reverse(row)
				}
				for _, v := range row {
					out = append(out, float32((float64(v)/255-float64(spec.Mean[c]))/float64(spec.Std[c])))
				}
			}
		}
		return out
	}
	norm := newNormaliser(spec)
	got := make([]float32, len(src))
	for y := -pad; y <= pad; y++ {
		for x := -pad; x <= pad; x++ {
			for _, flip := range []bool{false, true} {
				for i := range got {
					got[i] = float32(math.NaN())
				}
				g := geometry{y, x, flip}
				norm.apply(got, src, spec, g)
				if want := plain(g); !slices.Equal(got, want) {
					t.Fatalf("%+v:\n%v\nwant\n%v", g, got, want)
				}
			}
		}
	}
}

func TestGeometryStatistics(t *testing.T) {
	const n, pad = 40000, 2
	a := Augment{CropPadding: pad, Flip: 0.3}
	var flips float64
	cells := map[[2]int]float64{}
	var s random.Stream
	for i := range n {
		s.Reset(1, "test", 0, uint64(i))
		g := a.drawGeometry(&s)
		if g.flip {
			flips++
		}
		cells[[2]int{g.y, g.x}]++
	}
	if p := flips / n; math.Abs(p-0.3) > 4*math.Sqrt(0.3*0.7/n) {
		t.Errorf("share of flips %v", p)
	}
	// Chi-squared over the 25 places of the crop: mean 24, deviation sqrt(48).
	var chi float64
	for y := -pad; y <= pad; y++ {
		for x := -pad; x <= pad; x++ {
			d := cells[[2]int{y, x}] - n/25.
			chi += d * d / (n / 25.)
		}
	}
	if chi > 24+5*math.Sqrt(48) || len(cells) != 25 {
		t.Errorf("chi-squared %v over %d places", chi, len(cells))
	}
}

func TestMixingStatistics(t *testing.T) {
	const n = 20000
	spec := &Spec{Height: 28, Width: 20}
	a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 0.7, SwitchProb: 0.4}
	var mixed, cut, mean, square, centred float64
	var s random.Stream
	for i := range n {
		s.Reset(1, "test", 0, uint64(i))
		m := a.drawMixing(&s, spec)
		switch {
		case m.cut:
			mixed++
			cut++
			b := m.box
			if want := 1 - float64((b.y1-b.y0)*(b.x1-b.x0))/(28*20); m.lambda != want {
				t.Fatalf("lambda %v of box %v", m.lambda, b)
			}
			if b.y0 < 0 || b.y1 > 28 || b.x0 < 0 || b.x1 > 20 || b.y0 > b.y1 || b.x0 > b.x1 {
				t.Fatalf("box %v", b)
			}
			centred += float64(b.y0+b.y1)/28 + float64(b.x0+b.x1)/20
		case m.lambda != 1:
			mixed++
			mean += m.lambda
			square += (m.lambda - 0.5) * (m.lambda - 0.5)
		}
	}
	within := func(what string, got, want, deviation float64) {
		if math.Abs(got-want) > 4*deviation {
			t.Errorf("%s is %v, want %v +- %v", what, got, want, deviation)
		}
	}
	up := mixed - cut
	variance := 1 / (4 * (2*0.8 + 1.)) // of Beta(0.8, 0.8)
	within("share of mixed batches", mixed/n, 0.7, math.Sqrt(0.7*0.3/n))
	within("share of CutMix", cut/mixed, 0.4, math.Sqrt(0.4*0.6/mixed))
	within("mean of lambda", mean/up, 0.5, math.Sqrt(variance/up))
	within("variance of lambda", square/up, variance, variance/math.Sqrt(up))
	within("centre of the boxes", centred/cut, 2, 1/math.Sqrt(cut))

	one := func(a Augment) mixing {
		s.Reset(1, "test", 0, 0)
		return a.drawMixing(&s, spec)
	}
	if m := one(Augment{MixProb: 1}); m.lambda != 1 {
		t.Errorf("mixed with both alphas 0: %+v", m)
	}
	if m := one(Augment{Mixup: 1, CutMix: 1}); m.lambda != 1 {
		t.Errorf("mixed with probability 0: %+v", m)
	}
	if m := one(Augment{CutMix: 1, MixProb: 1}); !m.cut {
		t.Errorf("not CutMix though it alone is on: %+v", m)
	}
	if m := one(Augment{Mixup: 1, MixProb: 1, SwitchProb: 1}); m.cut || m.lambda == 1 {
		t.Errorf("not mixup though it alone is on: %+v", m)
	}
	for i := range 1000 { // alphas at which the gamma variates underflow
		s.Reset(1, "test", 1, uint64(i))
		if m := (&Augment{Mixup: 1e-300, MixProb: 1}).drawMixing(&s, spec); !(m.lambda >= 0 && m.lambda <= 1) {
			t.Fatalf("%+v", m)
		}
	}
}

func TestAugmentCheck(t *testing.T) {
	spec := &Spec{Height: 28, Width: 20}
	good := Augment{CropPadding: 19, Flip: 1, Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5, Smoothing: 0.1}
	if err := good.Check(spec); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Augment){
		"crop padding is -1":        func(a *Augment) { a.CropPadding = -1 },
		"crop padding is 20":        func(a *Augment) { a.CropPadding = 20 },
		"flip is 1.5":               func(a *Augment) { a.Flip = 1.5 },
		"flip is NaN":               func(a *Augment) { a.Flip = math.NaN() },
		"mixup is -0.1":             func(a *Augment) { a.Mixup = -0.1 },
		"cutmix is +Inf":            func(a *Augment) { a.CutMix = math.Inf(1) },
		"mix probability is 2":      func(a *Augment) { a.MixProb = 2 },
		"switch probability is -1":  func(a *Augment) { a.SwitchProb = -1 },
		"smoothing is 1.1, want 0 ": func(a *Augment) { a.Smoothing = 1.1 },
	} {
		a := good
		change(&a)
		if err := a.Check(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
