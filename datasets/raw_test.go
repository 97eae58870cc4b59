package datasets

import (
	"slices"
	"testing"
)

// Finish gives the same images and targets as a loader without Raw.
func TestRawFormIsTheSame(t *testing.T) {
	set := testSet(101)
	a := deit
	a.Reprob, a.Repeats = 0.5, 3
	tr := Training{Seed: 5, Purpose: "test", Augment: a}
	loaders := map[string]func(Options) (*Loader, error){
		"training":   func(o Options) (*Loader, error) { return NewTrainLoader(set, o, tr) },
		"evaluation": func(o Options) (*Loader, error) { return NewEvalLoader(set, o) },
	}
	for name, loader := range loaders {
		for _, c := range []struct{ batch, group int }{{8, 0}, {7, 0}, {8, 2}, {8, 3}, {7, 4}, {7, 16}} {
			batch := c.batch
			tr.Augment.MixBatch = c.group
			finished, err := loader(Options{Batch: batch, Prefetch: 2, Workers: 3})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := loader(Options{Batch: batch, Prefetch: 1, Workers: 2, Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			erased, mixed := 0, 0
			for epoch := range 2 {
				want := collect(t, finished, epoch, 0)
				for b, err := range raw.Epoch(t.Context(), epoch, 0) {
					if err != nil {
						t.Fatal(err)
					}
					if b.Images != nil || b.Targets != nil {
						t.Error("a raw batch has images or targets")
					}
					w := want[b.Step]
					if w.Pixels != nil || w.Erase != nil {
						t.Error("a finished batch has pixels or boxes to erase")
					}
					got := *b
					got.Images, got.Targets = make([]float32, len(w.Images)), make([]float32, len(w.Targets))
					raw.Finish(b, got.Images, got.Targets)
					if !equal(got, w) || !slices.Equal(got.Mixes, w.Mixes) || got.Group != w.Group {
						t.Fatalf("%s, batches of %d in groups of %d, epoch %d, step %d differs", name, batch, c.group, epoch, b.Step)
					}
					for _, e := range b.Erase {
						if e.Key != 0 {
							erased++
						}
					}
					for _, m := range b.Mixes {
						if m != unmixed {
							mixed++
						}
					}
				}
			}
			if train := name == "training"; (erased > 0) != train || (mixed > 0) != train {
				t.Errorf("%s: %d images erased, %d groups mixed", name, erased, mixed)
			}
		}
	}
}

// An epoch of repeated augmentation has as many visits as the set has images, rounded down
// to a multiple of 256: three for each image, each with another augmentation.
func TestRepeats(t *testing.T) {
	for _, c := range []struct{ images, batch, steps int }{
		{600, 64, 8},  // 512 visits
		{600, 100, 5}, // the same, and an incomplete batch
		{100, 10, 10}, // below 256 all
	} {
		set := testSet(c.images)
		for i := range set.Labels {
			set.Labels[i] = 0
			for x := range 4 { // columns that show the position of the crop
				for y := range 6 {
					set.Images[i*48+y*4+x] = uint8(1 + y*4 + x)
				}
			}
		}
		l := trainLoader(t, set, Options{Batch: c.batch, Raw: true}, Training{Seed: 1, Augment: Augment{CropPadding: 3, Flip: 0.5, Repeats: 3}})
		once := trainLoader(t, set, Options{Batch: 1}, Training{Seed: 1})
		if l.Steps() != c.steps {
			t.Errorf("%+v: %d steps", c, l.Steps())
		}
		for epoch := range 2 {
			var order []int
			for b, err := range once.Epoch(t.Context(), epoch, 0) {
				if err != nil {
					t.Fatal(err)
				}
				order = append(order, b.Samples[0])
			}
			place, same := 0, 0
			var last []uint8
			for b, err := range l.Epoch(t.Context(), epoch, 0) {
				if err != nil {
					t.Fatal(err)
				}
				for row, i := range b.Samples {
					if i != order[place/3] {
						t.Fatalf("%+v: visit %d is to image %d, want %d", c, place, i, order[place/3])
					}
					pixels := slices.Clone(b.Pixels[row*48:][:48])
					if place%3 > 0 && slices.Equal(pixels, last) {
						same++
					}
					last = pixels
					place++
				}
			}
			if place != c.steps*c.batch {
				t.Errorf("%+v: %d visits", c, place)
			}
			if same > place/10 { // one in 98 by chance
				t.Errorf("%+v: %d of %d visits repeat the changes of the one before", c, same, place)
			}
		}
	}
}
