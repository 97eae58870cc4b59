package datasets

import (
	"math"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/internal/goldenfile"
	"hatchery/engine/random"
)

// testdata/mixing.py writes the golden file with timm.
func TestMixingIsTimms(t *testing.T) {
	var golden struct {
		Boxes []struct {
			H, W           int
			Lam, Corrected float64
			Y, X           int
			Box            [4]int
		}
		Batches []struct {
			Name      string
			Shape     [4]int
			Classes   int
			Labels    []int32
			Smoothing float64
			Group     int
			Draws     []struct { // of each group
				Lam    float64
				Centre []int
			}
			Images, Mixed, Targets []float32
		}
	}
	goldenfile.Read(t, "testdata/mixing.json", &golden)
	if len(golden.Boxes) != 84 || len(golden.Batches) != 8 {
		t.Fatalf("%d boxes, %d batches", len(golden.Boxes), len(golden.Batches))
	}
	for _, g := range golden.Boxes {
		m := cutMix(g.H, g.W, g.Lam, g.Y, g.X)
		want := mixup(g.Corrected)
		want.Cut, want.Y0, want.Y1, want.X0, want.X1 = true, g.Box[0], g.Box[1], g.Box[2], g.Box[3]
		if m != want {
			t.Errorf("%+v: %+v", g, m)
		}
	}
	for _, g := range golden.Batches {
		n, h, w := g.Shape[0], g.Shape[2], g.Shape[3]
		var mixes []Mix
		for _, d := range g.Draws {
			m := mixup(d.Lam)
			if d.Centre != nil {
				m = cutMix(h, w, d.Lam, d.Centre[0], d.Centre[1])
			}
			mixes = append(mixes, m)
		}
		size := g.Shape[1] * h * w
		for i := range pairs(n, g.Group) {
			if row, other := pair(i, n, g.Group); row != other {
				mixes[row/g.Group].images(g.Images[row*size:][:size], g.Images[other*size:][:size], h, w)
			}
		}
		if !slices.Equal(g.Images, g.Mixed) {
			t.Errorf("%s: images\n%v\nwant\n%v", g.Name, g.Images, g.Mixed)
		}
		targets := make([]float32, len(g.Targets))
		for i, label := range g.Labels {
			mixes[i/g.Group].target(targets[i*g.Classes:][:g.Classes], label, g.Labels[partner(i, n, g.Group)], g.Smoothing)
		}
		if !slices.Equal(targets, g.Targets) {
			t.Errorf("%s: targets\n%v\nwant\n%v", g.Name, targets, g.Targets)
		}
	}
}

// Crop and flip in one pass, compared with pad, crop and flip one after another.
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
	pixels := make([]uint8, len(src))
	got := make([]float32, len(src))
	for y := -pad; y <= pad; y++ {
		for x := -pad; x <= pad; x++ {
			for _, flip := range []bool{false, true} {
				for i := range got {
					got[i] = float32(math.NaN())
				}
				g := geometry{y, x, flip}
				g.apply(pixels, src, spec)
				norm.apply(got, pixels)
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
	// Chi-squared over the 25 positions of the crop: mean 24, deviation sqrt(48).
	var chi float64
	for y := -pad; y <= pad; y++ {
		for x := -pad; x <= pad; x++ {
			d := cells[[2]int{y, x}] - n/25.
			chi += d * d / (n / 25.)
		}
	}
	if chi > 24+5*math.Sqrt(48) || len(cells) != 25 {
		t.Errorf("chi-squared %v over %d positions", chi, len(cells))
	}
}

func TestMixingStatistics(t *testing.T) {
	const n = 20000
	a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 0.7, SwitchProb: 0.4}
	var mixed, cut, mean, square, centred float64
	var s random.Stream
	for i := range n {
		s.Reset(1, "test", 0, uint64(i))
		m := a.drawMix(&s, 28, 20)
		switch {
		case m.Cut:
			mixed++
			cut++
			if want := 1 - float64((m.Y1-m.Y0)*(m.X1-m.X0))/(28*20); m.Lambda != float32(want) {
				t.Fatalf("lambda of %+v", m)
			}
			if m.Y0 < 0 || m.Y1 > 28 || m.X0 < 0 || m.X1 > 20 || m.Y0 > m.Y1 || m.X0 > m.X1 {
				t.Fatalf("box %+v", m)
			}
			centred += float64(m.Y0+m.Y1)/28 + float64(m.X0+m.X1)/20
		case m != unmixed:
			mixed++
			lambda := float64(m.Lambda)
			mean += lambda
			square += (lambda - 0.5) * (lambda - 0.5)
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

	one := func(a Augment) Mix {
		s.Reset(1, "test", 0, 0)
		return a.drawMix(&s, 28, 20)
	}
	if m := one(Augment{MixProb: 1}); m != unmixed {
		t.Errorf("mixed with both alphas 0: %+v", m)
	}
	if m := one(Augment{Mixup: 1, CutMix: 1}); m != unmixed {
		t.Errorf("mixed with probability 0: %+v", m)
	}
	if m := one(Augment{CutMix: 1, MixProb: 1}); !m.Cut {
		t.Errorf("not CutMix, although only CutMix is on: %+v", m)
	}
	if m := one(Augment{Mixup: 1, MixProb: 1, SwitchProb: 1}); m.Cut || m == unmixed {
		t.Errorf("not mixup, although only mixup is on: %+v", m)
	}
	for i := range 1000 { // alphas at which the gamma variates underflow
		s.Reset(1, "test", 1, uint64(i))
		if m := (&Augment{Mixup: 1e-300, MixProb: 1}).drawMix(&s, 28, 20); !(m.Lambda >= 0 && m.Lambda <= 1) {
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
		"reprob is 1.5":             func(a *Augment) { a.Reprob = 1.5 },
		"in groups of 1, want":      func(a *Augment) { a.MixBatch = 1 },
		"in groups of -2, want":     func(a *Augment) { a.MixBatch = -2 },
		"repeats is -1":             func(a *Augment) { a.Repeats = -1 },
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
