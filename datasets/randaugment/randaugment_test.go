package randaugment

import (
	"math"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/internal/goldenfile"
	"hatchery/datasets/picture"
	"hatchery/engine/random"
)

const deit = "rand-m9-mstd0.5-inc1"

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names are timm's names of the operations that do not grow with the magnitude, and of
// those that do.
var names = map[bool][]string{
	false: {"AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"},
	true:  {"AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"},
}

// testdata/golden.py writes the golden file with timm.
func TestPoliciesAreTimms(t *testing.T) {
	var golden struct {
		Policies []struct {
			Text string
			Policy
			Ops []string
		}
		Arguments []struct {
			Op       string
			Level    float64
			Negative bool
			Args     []float64
		}
	}
	goldenfile.Read(t, "testdata/golden.json", &golden)
	if len(golden.Policies) != 5 || len(golden.Arguments) != 21*18 {
		t.Fatalf("%d policies, %d arguments", len(golden.Policies), len(golden.Arguments))
	}
	for _, g := range golden.Policies {
		want := g.Policy
		want.Increasing = slices.Equal(g.Ops, names[true])
		if want.Std == 1e300 {
			want.Std = math.Inf(1)
		}
		if got := *parse(t, g.Text); got != want {
			t.Errorf("%s: %+v, want %+v", g.Text, got, want)
		}
		if !slices.Equal(g.Ops, names[want.Increasing]) {
			t.Errorf("%s: timm's changes are %v", g.Text, g.Ops)
		}
	}
	for _, g := range golden.Arguments {
		for _, increasing := range []bool{false, true} {
			o := op(slices.Index(names[increasing], g.Op))
			if o < 0 {
				continue
			}
			want := 0.
			if len(g.Args) > 0 {
				want = g.Args[0]
			}
			if got := o.argument(g.Level, g.Negative && o.signed(increasing), increasing); got != want {
				t.Errorf("%s of level %v, negative %v: %v, want %v", g.Op, g.Level, g.Negative, got, want)
			}
		}
	}
}

// Each operation is applied with the right frequency, distribution of magnitudes, and in
// both directions: with one layer and one kind of picture, the result shows the operation.
func TestApplyStatistics(t *testing.T) {
	const n = 30000
	src := testPicture(6, 6, 3)
	fill := []uint8{124, 116, 104}
	p := parse(t, "rand-m9-mstd0.5-inc1-n1")
	count := map[string]int{}
	var pic, spare picture.Picture
	var s random.Stream
	for i := range n {
		s.Reset(1, "test", uint64(i))
		set(&pic, src)
		p.Apply(&s, &pic, &spare, fill)
		count[string(pic.Pix)]++
	}
	// An operation is applied with p = 1/2, each of 15 equally often.
	within := func(what string, got int, want float64) {
		t.Helper()
		if d := math.Sqrt(n * want * (1 - want)); math.Abs(float64(got)-n*want) > 4*d {
			t.Errorf("%s: %d of %d, want %v", what, got, n, n*want)
		}
	}
	const each = 0.5 / 15
	for _, c := range []struct {
		name   string
		change func(*picture.Picture)
		share  float64
	}{
		{"none, or equalize, which has too few pixels", func(*picture.Picture) {}, 0.5 + each},
		{"invert, or solarize at magnitude 10", (*picture.Picture).Invert, each * 1.02275},
		{"auto contrast", (*picture.Picture).AutoContrast, each},
		// One bit is kept below magnitude 10, none at 10, to which 2.3 % are clipped.
		{"posterize", func(p *picture.Picture) { p.Posterize(1) }, each * 0.97725},
		{"posterize to black", func(p *picture.Picture) { p.Posterize(0) }, each * 0.02275},
		// Half of the 2.3 % at magnitude 10 rotate left.
		{"rotate by -30", func(p *picture.Picture) { picture.Rotate(p, src, -30, picture.Bicubic, fill) }, each * 0.02275 / 2},
		{"rotate by 30", func(p *picture.Picture) { picture.Rotate(p, src, 30, picture.Bicubic, fill) }, each * 0.02275 / 2},
	} {
		var want picture.Picture
		set(&want, src)
		c.change(&want)
		within(c.name, count[string(want.Pix)], c.share)
	}
}

// Two layers apply the first operation and then the second.
func TestLayersFollowOneAnother(t *testing.T) {
	src := testPicture(20, 16, 3)
	fill := []uint8{124, 116, 104}
	one, two := parse(t, "rand-m9-mstd0.5-inc1-n1"), parse(t, deit)
	var s random.Stream
	var got, want, spare picture.Picture
	changed := 0
	for i := range 300 {
		s.Reset(2, "test", uint64(i))
		set(&got, src)
		two.Apply(&s, &got, &spare, fill)
		s.Reset(2, "test", uint64(i))
		set(&want, src)
		one.Apply(&s, &want, &spare, fill)
		one.Apply(&s, &want, &spare, fill)
		if !slices.Equal(got.Pix, want.Pix) {
			t.Fatalf("draw %d differs", i)
		}
		if !slices.Equal(got.Pix, src.Pix) {
			changed++
		}
	}
	if changed < 180 { // 3/4 apply an operation, few of which have no visible effect
		t.Errorf("%d of 300 changed", changed)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                    `begins with ""`,
		"original-mstd0.5":    `begins with "original"`,
		"rand-9":              `"9" is not a name`,
		"rand-m":              `"m" is not a name`,
		"rand-":               `"" is not`,
		"rand-m9-m8":          "m is given twice",
		"rand-m9.5":           "m must be a whole number",
		"rand-n1e99":          "n must be at most 100",
		"rand-p1.5":           "p must be at most 1",
		"rand-mstd0.5.1":      `"0.5.1" is not a number`,
		"rand-mstd0x1p99999":  "is not a number",
		"rand-w0":             `unknown "w"; known are`,
		"rand-tweights":       `"tweights" is not`,
		"rand-m-9":            `"m" is not a name`,
		"rand-inc2":           "inc must be at most 1",
		"rand-m9-mmax20-inc1": "mmax must be at most 10",
	} {
		if p, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, error %v, want %q", text, p, err, want)
		}
	}
}

// Every accepted policy can be applied.
func FuzzParse(f *testing.F) {
	for _, text := range []string{deit, "rand", "rand-m10-n4-p1-mstd200-inc0", "rand-mmax1-m3", "rand-mstd1e-300"} {
		f.Add(text)
	}
	src := testPicture(5, 4, 1)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		var pic, spare picture.Picture
		set(&pic, src)
		p.Apply(random.New(1, text), &pic, &spare, []uint8{9})
		if pic.Width != 5 || pic.Height != 4 || len(pic.Pix) != 20 {
			t.Errorf("%q: %dx%d", text, pic.Width, pic.Height)
		}
	})
}

func TestApplyDoesNotAllocate(t *testing.T) {
	src := testPicture(32, 32, 3)
	p := parse(t, deit)
	fill := Fill([]float32{0.485, 0.456, 0.406})
	if !slices.Equal(fill, []uint8{124, 116, 104}) {
		t.Errorf("fill %v", fill)
	}
	var s random.Stream
	var pic, spare picture.Picture
	set(&pic, src)
	set(&spare, src)
	i := uint64(0)
	if n := testing.AllocsPerRun(500, func() {
		s.Reset(1, "test", i)
		p.Apply(&s, &pic, &spare, fill)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{32, 224} {
		src := testPicture(size, size, 3)
		for name, o := range map[string]func(*random.Stream, *picture.Picture, *picture.Picture){
			"deit": func(s *random.Stream, pic, spare *picture.Picture) {
				parse(b, deit).Apply(s, pic, spare, []uint8{124, 116, 104})
			},
			"none": func(*random.Stream, *picture.Picture, *picture.Picture) {},
			"rotate": func(_ *random.Stream, pic, spare *picture.Picture) {
				rotate.apply(pic, spare, 27, []uint8{124, 116, 104})
			},
			"shearX": func(_ *random.Stream, pic, spare *picture.Picture) {
				shearX.apply(pic, spare, .27, []uint8{124, 116, 104})
			},
			"shearY": func(_ *random.Stream, pic, spare *picture.Picture) {
				shearY.apply(pic, spare, .27, []uint8{124, 116, 104})
			},
			"sharpness": func(_ *random.Stream, pic, spare *picture.Picture) { sharpness.apply(pic, spare, 1.8, nil) },
			"colour":    func(_ *random.Stream, pic, spare *picture.Picture) { colour.apply(pic, spare, 1.8, nil) },
			"equalize":  func(_ *random.Stream, pic, spare *picture.Picture) { equalize.apply(pic, spare, 0, nil) },
			"solarize":  func(_ *random.Stream, pic, spare *picture.Picture) { solarize.apply(pic, spare, 20, nil) },
		} {
			b.Run(name+"/"+map[int]string{32: "32", 224: "224"}[size], func(b *testing.B) {
				var s random.Stream
				var pic, spare picture.Picture
				i := uint64(0)
				for b.Loop() {
					set(&pic, src)
					s.Reset(1, "bench", i)
					o(&s, &pic, &spare)
					i++
				}
			})
		}
	}
}

// testPicture returns a picture of ramps with a pattern laid over them.
func testPicture(w, h, c int) *picture.Picture {
	p := &picture.Picture{}
	p.Reset(w, h, c)
	for i := range p.Pix {
		p.Pix[i] = uint8((i*7)%150 + i%c*20)
	}
	return p
}

func set(p, src *picture.Picture) {
	p.Reset(src.Width, src.Height, src.Channels)
	copy(p.Pix, src.Pix)
}
