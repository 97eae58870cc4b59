package datasets

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"hatchery/datasets/internal/goldenfile"
	"hatchery/datasets/picture"
	"hatchery/datasets/randaugment"
	"hatchery/engine/random"
)

// memoryStore is a store in memory.
type memoryStore struct {
	list  []*picture.Picture
	bad   map[int]error
	loads atomic.Int64
}

func (s *memoryStore) Load(i int, p *picture.Picture) error {
	s.loads.Add(1)
	if err := s.bad[i]; err != nil {
		return err
	}
	src := s.list[i]
	p.Reset(src.Width, src.Height, src.Channels)
	copy(p.Pix, src.Pix)
	return nil
}

// storeSet returns a set of n pictures of different sizes.
func storeSet(n int) (*Set, *memoryStore) {
	store := &memoryStore{}
	set := &Set{Spec: Spec{
		Name: "pictures", Classes: []string{"a", "b", "c"}, Channels: 3,
		Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225},
	}, Store: store}
	for i := range n {
		store.list = append(store.list, texture(30+i%7, 25+i%11, 3, uint64(i)))
		set.Labels = append(set.Labels, int32(i%3))
	}
	return set, store
}

// texture returns a picture of ramps with noise.
func texture(w, h, c int, seed uint64) *picture.Picture {
	s := random.New(seed, "texture")
	p := &picture.Picture{}
	p.Reset(w, h, c)
	for i := range p.Pix {
		p.Pix[i] = uint8(i/(w*c)*3 + i%c*40 + s.IntN(60))
	}
	return p
}

func readResizing(t *testing.T) (golden struct {
	Evaluation []struct {
		Picture, Result *picture.Picture
		Size            int
	}
	Crops []struct {
		Width, Height int
		Means         [8]float64
	}
}) {
	goldenfile.Read(t, "testdata/resizing.json.gz", &golden)
	return golden
}

// testdata/resizing.py writes the golden file with torchvision.
func TestEvaluationIsTorchvisions(t *testing.T) {
	golden := readResizing(t)
	if len(golden.Evaluation) != 7 {
		t.Fatalf("%d pictures", len(golden.Evaluation))
	}
	for _, g := range golden.Evaluation {
		c := g.Picture.Channels
		store := &memoryStore{list: []*picture.Picture{g.Picture}}
		set := &Set{Spec: Spec{Name: "test", Classes: []string{"a"}, Channels: c, Mean: make([]float32, c), Std: []float32{1, 1, 1}[:c]}, Labels: []int32{0}, Store: store}
		want := make([]uint8, len(g.Result.Pix))
		g.Result.Planes(want)
		check := func(kind string) {
			l, err := NewEvalLoader(set, Options{Batch: 1, Size: g.Size, Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			for b, err := range l.Epoch(t.Context(), 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(b.Pixels, want) {
					t.Errorf("%dx%dx%d to %d, %s: other pixels", g.Picture.Width, g.Picture.Height, c, g.Size, kind)
				}
			}
		}
		check("from a store")
		set.Store, set.Width, set.Height = nil, g.Picture.Width, g.Picture.Height
		set.Images = make([]uint8, len(g.Picture.Pix))
		g.Picture.Planes(set.Images)
		check("from memory")
	}
}

func TestResizedCropIsSpreadAsTorchvisions(t *testing.T) {
	const n = 20000
	a := Augment{ResizedCrop: [2]float64{0.08, 1}}
	var s random.Stream
	for _, g := range readResizing(t).Crops {
		var sums, squares [8]float64
		for i := range n {
			s.Reset(1, "test", uint64(i))
			x, y, w, h := a.drawResizedCrop(&s, g.Width, g.Height)
			if x < 0 || y < 0 || w < 1 || h < 1 || x+w > g.Width || y+h > g.Height {
				t.Fatalf("%dx%d: crop of %dx%d at (%d, %d)", g.Width, g.Height, w, h, x, y)
			}
			area, aspect := float64(w*h)/float64(g.Width*g.Height), math.Log(float64(w)/float64(h))
			mx, my := (float64(x)+float64(w)/2)/float64(g.Width), (float64(y)+float64(h)/2)/float64(g.Height)
			for k, v := range [8]float64{area, area * area, aspect, aspect * aspect, mx, mx * mx, my, my * my} {
				sums[k] += v
				squares[k] += v * v
			}
		}
		for k, want := range g.Means {
			mean := sums[k] / n
			deviation := math.Sqrt((squares[k]/n - mean*mean) / n * 2) // theirs has as many draws
			if math.Abs(mean-want) > 4.5*deviation+1e-12 {
				t.Errorf("%dx%d: mean %d is %v, torchvision's is %v +- %v", g.Width, g.Height, k, mean, want, deviation)
			}
		}
	}
}

// The loader applies the changes to a picture one after another, with draws from the
// streams that the documentation names.
func TestTrainingIsTheChangesInTheirOrder(t *testing.T) {
	const size, epoch = 24, 3
	set, store := storeSet(12)
	fill := randaugment.Fill(set.Mean)
	policy, err := randaugment.Parse("rand-m9-mstd0.5-inc1")
	if err != nil {
		t.Fatal(err)
	}
	memory := testColours(12, size)
	for name, c := range map[string]struct {
		set *Set
		a   Augment
	}{
		"resized crop":            {set, Augment{ResizedCrop: [2]float64{0.08, 1}, Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1"}},
		"padded crop":             {set, Augment{CropPadding: 4, Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1"}},
		"padded crop in memory":   {memory, Augment{CropPadding: 4, Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1"}},
		"resized crop in memory":  {memory, Augment{ResizedCrop: [2]float64{0.3, 0.9}, Flip: 0.5}},
		"no changes of colour":    {memory, Augment{CropPadding: 4, Flip: 0.5}},
		"no colour, from a store": {set, Augment{CropPadding: 4, Flip: 0.5}},
	} {
		tr := Training{Seed: 7, Purpose: "meta", Augment: c.a}
		l := trainLoader(t, c.set, Options{Batch: 4, Size: size, Raw: true, Prefetch: 1, Workers: 2}, tr)
		for b, err := range l.Epoch(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for row, i := range b.Samples {
				var p, q picture.Picture
				var r picture.Resizer
				if c.set == memory {
					p.SetPlanes(memory.Image(i), size, size, 3)
				} else {
					p = *store.list[i]
				}
				s := random.New(7, "meta/sample", epoch, uint64(i))
				if c.a.resizes() {
					x, y, w, h := c.a.drawResizedCrop(s, p.Width, p.Height)
					q.Crop(&p, x, y, w, h)
					var whole picture.Picture
					r.Resize(&whole, &q, size, size, picture.Box{X1: float64(w), Y1: float64(h)}, picture.Bicubic)
					p = whole
				} else if c.set != memory {
					short := size * 256 / 224
					w, h := short, short*p.Height/p.Width
					if p.Height < p.Width {
						w, h = short*p.Width/p.Height, short
					}
					r.Resize(&q, &p, w, h, picture.Box{X1: float64(p.Width), Y1: float64(p.Height)}, picture.Bicubic)
					p = picture.Picture{}
					p.Crop(&q, int(math.RoundToEven(float64(w-size)/2)), int(math.RoundToEven(float64(h-size)/2)), size, size)
				}
				if c.a.CropPadding > 0 {
					y := s.IntN(9) - 4
					x := s.IntN(9) - 4
					var moved picture.Picture
					moved.Crop(&p, x, y, size, size)
					p = moved
				}
				if s.Float64() < 0.5 {
					p.Mirror()
				}
				if c.a.RandAugment != "" {
					var spare picture.Picture
					policy.Apply(random.New(7, "meta/colour", epoch, uint64(i)), &p, &spare, fill)
				}
				want := make([]uint8, len(p.Pix))
				p.Planes(want)
				if !slices.Equal(b.Pixels[row*len(want):][:len(want)], want) {
					t.Errorf("%s: image %d differs", name, i)
				}
			}
		}
	}
}

// testColours returns a set in memory of n images with three channels.
func testColours(n, size int) *Set {
	s := &Set{Spec: Spec{
		Name: "colours", Classes: []string{"a", "b"}, Channels: 3, Height: size, Width: size,
		Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225},
	}}
	for i := range n {
		pix := make([]uint8, s.pixels())
		texture(size, size, 3, uint64(i)).Planes(pix)
		s.Images = append(s.Images, pix...)
		s.Labels = append(s.Labels, int32(i%2))
	}
	return s
}

// DeiT's whole recipe, with every kind of loader.
func TestWholeRecipeDoesNotDependOnWorkers(t *testing.T) {
	set, _ := storeSet(60)
	a := Augment{
		ResizedCrop: [2]float64{0.08, 1}, Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1", Reprob: 0.25,
		Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5, Smoothing: 0.1, Repeats: 3,
	}
	tr := Training{Seed: 5, Purpose: "test", Augment: a}
	var want []Batch
	for _, opt := range []Options{{}, {Prefetch: 1, Workers: 1}, {Prefetch: 3, Workers: 5}} {
		opt.Batch, opt.Size = 7, 16
		got := collect(t, trainLoader(t, set, opt, tr), 2, 0)
		if want == nil {
			want = got
		}
		if len(got) != 8 || !slices.EqualFunc(got, want, equal) {
			t.Errorf("%+v: other batches", opt)
		}
		if rest := collect(t, trainLoader(t, set, opt, tr), 2, 3); !slices.EqualFunc(rest, want[3:], equal) {
			t.Errorf("%+v: the rest of the epoch differs", opt)
		}
	}
}

// A picture that cannot be decoded is the error of its batch, whichever worker decodes
// it. Of two such pictures it is the first in the batch.
func TestPictureThatCannotBeDecoded(t *testing.T) {
	set, store := storeSet(40)
	first := errors.New("n01/a.JPEG: broken")
	store.bad = map[int]error{13: first, 14: errors.New("n01/b.JPEG: broken too")}
	for _, opt := range []Options{{}, {Prefetch: 1, Workers: 1}, {Prefetch: 2, Workers: 4}} {
		opt.Batch, opt.Size = 10, 8
		l, err := NewEvalLoader(set, opt)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			steps := 0
			for b, err := range l.Epoch(t.Context(), 0, 0) {
				if steps++; (steps == 2) != (err != nil) || (b == nil) != (err != nil) {
					t.Fatalf("%+v: batch %v, error %v in step %d", opt, b, err, steps)
				}
				if err != nil && !errors.Is(err, first) {
					t.Errorf("%+v: error %v, want %v", opt, err, first)
				}
			}
			if steps != 2 {
				t.Errorf("%+v: ended after %d steps", opt, steps)
			}
		}
		store.list[2].Channels, store.bad = 1, nil
		for _, err = range l.Epoch(t.Context(), 0, 0) {
		}
		if err == nil || !strings.Contains(err.Error(), "image 2 of pictures has 1 channels, want 3") {
			t.Errorf("error %v", err)
		}
		store.list[2].Channels = 3
		store.bad = map[int]error{13: first, 14: errors.New("n01/b.JPEG: broken too")}
	}
}

func TestSizeIsNeededForAStore(t *testing.T) {
	set, _ := storeSet(3)
	for _, size := range []int{0, -1} {
		if _, err := NewEvalLoader(set, Options{Batch: 1, Size: size}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("size is %d", size)) {
			t.Errorf("size %d: error %v", size, err)
		}
	}
}

// An epoch may allocate, but its batches may not, even if they decode and change pictures,
// once the largest picture has been seen.
func TestPicturesDoNotAllocate(t *testing.T) {
	set, _ := storeSet(40)
	a := Augment{ResizedCrop: [2]float64{0.08, 1}, Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1-p1", Reprob: 1, Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5}
	for _, opt := range []Options{{Batch: 2}, {Batch: 2, Prefetch: 2, Workers: 2}} {
		opt.Size = 16
		l := trainLoader(t, set, opt, Training{Augment: a})
		epoch := 0
		allocs := func(from int) float64 {
			return testing.AllocsPerRun(20, func() {
				for _, err := range l.Epoch(t.Context(), epoch, from) {
					if err != nil {
						t.Fatal(err)
					}
				}
			})
		}
		allocs(0)
		// Any worker may get the largest picture, so one may still allocate once. A step
		// that allocates does so 19 times more.
		if one, all := allocs(19), allocs(0); all > one+9 {
			t.Errorf("%+v: %v allocations for 20 steps, %v for one", opt, all, one)
		}
	}
}
