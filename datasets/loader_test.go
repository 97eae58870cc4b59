package datasets

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// testSet returns a set of n images of constant value: image i has the pixels 10+i in
// its first channel and 100+i in its second, and the class i mod 3.
func testSet(n int) *Set {
	s := &Set{Spec: Spec{
		Name: "test", Classes: []string{"a", "b", "c"},
		Channels: 2, Height: 6, Width: 4,
		Mean: []float32{0.25, 0.5}, Std: []float32{0.5, 0.125},
	}}
	for i := range n {
		s.Labels = append(s.Labels, int32(i%3))
		for p := range s.pixels() {
			s.Images = append(s.Images, uint8(10+i+90*(p/24)))
		}
	}
	return s
}

// values returns the normalised pixel of image i of testSet in each channel.
func testValues(i int) [2]float32 {
	return [2]float32{float32((float64(10+i)/255 - 0.25) / 0.5), float32((float64(100+i)/255 - 0.5) / 0.125)}
}

var deit = Augment{CropPadding: 2, Flip: 0.5, Mixup: 0.8, CutMix: 1, MixProb: 0.9, SwitchProb: 0.5, Smoothing: 0.1}

func trainLoader(t testing.TB, set *Set, opt Options, tr Training) *Loader {
	t.Helper()
	l, err := NewTrainLoader(set, opt, tr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// collect returns copies of the batches of an epoch.
func collect(t testing.TB, l *Loader, epoch, from int) []Batch {
	t.Helper()
	var all []Batch
	for b, err := range l.Epoch(t.Context(), epoch, from) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Epoch != epoch || b.Step != from+len(all) {
			t.Errorf("epoch %d step %d, want %d and %d", b.Epoch, b.Step, epoch, from+len(all))
		}
		c := *b
		c.Images, c.Targets = slices.Clone(b.Images), slices.Clone(b.Targets)
		c.Labels, c.Samples, c.Mixes = slices.Clone(b.Labels), slices.Clone(b.Samples), slices.Clone(b.Mixes)
		all = append(all, c)
	}
	return all
}

func equal(a, b Batch) bool {
	return slices.Equal(a.Images, b.Images) && slices.Equal(a.Targets, b.Targets) &&
		slices.Equal(a.Labels, b.Labels) && slices.Equal(a.Samples, b.Samples) &&
		a.Size == b.Size && a.Epoch == b.Epoch && a.Step == b.Step
}

func TestTrainingVisitsImagesOnce(t *testing.T) {
	set := testSet(50)
	l := trainLoader(t, set, Options{Batch: 8}, Training{Seed: 1, Purpose: "test"})
	if l.Steps() != 6 {
		t.Errorf("%d steps, want 6: the incomplete batch is dropped", l.Steps())
	}
	var orders [][]int
	for epoch := range 3 {
		batches := collect(t, l, epoch, 0)
		if len(batches) != 6 {
			t.Fatalf("%d batches", len(batches))
		}
		var order []int
		for _, b := range batches {
			if b.Size != 8 {
				t.Errorf("size %d", b.Size)
			}
			order = append(order, b.Samples...)
			for row, i := range b.Samples {
				if b.Labels[row] != set.Labels[i] {
					t.Errorf("image %d has label %d", i, b.Labels[row])
				}
				want := make([]float32, 3)
				want[set.Labels[i]] = 1
				if got := b.Targets[row*3:][:3]; !slices.Equal(got, want) {
					t.Errorf("image %d has target %v", i, got)
				}
				for p, v := range b.Images[row*48:][:48] {
					if v != testValues(i)[p/24] {
						t.Fatalf("image %d has pixel %v", i, v)
					}
				}
			}
		}
		orders = append(orders, slices.Clone(order))
		slices.Sort(order)
		if len(slices.Compact(order)) != 48 {
			t.Errorf("epoch %d visits %d images", epoch, len(slices.Compact(order)))
		}
	}
	if slices.Equal(orders[0], orders[1]) || slices.Equal(orders[1], orders[2]) {
		t.Error("two epochs have the same order")
	}
}

// Images and targets are mixed alike: with images of one value each, lambda follows from
// both.
func TestTargetsAgreeWithImages(t *testing.T) {
	set := testSet(60)
	a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 0.8, SwitchProb: 0.5}
	l := trainLoader(t, set, Options{Batch: 6}, Training{Seed: 3, Purpose: "test", Augment: a})
	kinds := map[string]int{}
	for epoch := range 10 {
		for _, b := range collect(t, l, epoch, 0) {
			for row, i := range b.Samples {
				j := b.Samples[5-row]
				if set.Labels[i] == set.Labels[j] {
					continue
				}
				lambda := b.Targets[row*3+int(set.Labels[i])]
				if other := b.Targets[row*3+int(set.Labels[j])]; math.Abs(float64(lambda+other-1)) > 1e-6 {
					t.Fatalf("targets %v", b.Targets[row*3:][:3])
				}
				own, partner := testValues(i), testValues(j)
				image := b.Images[row*48:][:48]
				kept := 0
				for p, v := range image {
					if v == own[p/24] {
						kept++
					}
				}
				switch want := lambda*own[0] + (1-lambda)*partner[0]; {
				case lambda == 1 && kept == 48:
					kinds["as it was"]++
				case math.Abs(float64(kept)/48-float64(lambda)) < 1e-6:
					kinds["CutMix"]++
					for p, v := range image {
						if v != own[p/24] && v != partner[p/24] {
							t.Fatalf("pixel %v is of neither image", v)
						}
					}
				case math.Abs(float64(image[0]-want)) < 1e-5 && slices.Min(image[:24]) == slices.Max(image[:24]):
					kinds["mixup"]++
				default:
					t.Fatalf("lambda %v, %d pixels kept, image %v", lambda, kept, image)
				}
			}
		}
	}
	if len(kinds) != 3 {
		t.Errorf("only %v", kinds)
	}
}

func TestEvaluation(t *testing.T) {
	set := testSet(20)
	for _, opt := range []Options{{Batch: 8}, {Batch: 8, Prefetch: 2, Workers: 2}, {Batch: 5}, {Batch: 64}} {
		l, err := NewEvalLoader(set, opt)
		if err != nil {
			t.Fatal(err)
		}
		for epoch := range 2 { // the second time over used buffers
			next := 0
			batches := collect(t, l, epoch, 0)
			if want := (20 + opt.Batch - 1) / opt.Batch; l.Steps() != want || len(batches) != want {
				t.Errorf("batch %d: %d steps, %d batches, want %d", opt.Batch, l.Steps(), len(batches), want)
			}
			for _, b := range batches {
				for row := range opt.Batch {
					image, target := b.Images[row*48:][:48], b.Targets[row*3:][:3]
					want, value, label, sample := make([]float32, 3), [2]float32{}, int32(-1), -1
					if row < b.Size {
						label, sample, value = int32(next%3), next, testValues(next)
						want[label] = 1
						next++
					}
					if image[0] != value[0] || image[47] != value[1] || !slices.Equal(target, want) || b.Labels[row] != label || b.Samples[row] != sample {
						t.Fatalf("batch %d, step %d, row %d: %v %v %v %v", opt.Batch, b.Step, row, image, target, b.Labels[row], b.Samples[row])
					}
				}
			}
			if next != 20 {
				t.Errorf("batch %d: %d images", opt.Batch, next)
			}
		}
	}
}

func TestWorkersAndPrefetchChangeNothing(t *testing.T) {
	set := testSet(100)
	tr := Training{Seed: 5, Purpose: "test", Augment: deit}
	var want [][]Batch
	for _, opt := range []Options{{Batch: 8}, {Batch: 8, Prefetch: 1}, {Batch: 8, Prefetch: 3, Workers: 3}, {Batch: 8, Prefetch: 40, Workers: 7}} {
		l := trainLoader(t, set, opt, tr)
		// Backwards, so that no epoch can depend on the one before.
		got := make([][]Batch, 3)
		for epoch := 2; epoch >= 0; epoch-- {
			got[epoch] = collect(t, l, epoch, 0)
		}
		if want == nil {
			want = got
		}
		for epoch := range want {
			if !slices.EqualFunc(got[epoch], want[epoch], equal) {
				t.Errorf("%+v: epoch %d differs", opt, epoch)
			}
		}
	}
}

func TestResumeWithinAnEpoch(t *testing.T) {
	set := testSet(100)
	tr := Training{Seed: 5, Purpose: "test", Augment: deit}
	for _, opt := range []Options{{Batch: 8}, {Batch: 8, Prefetch: 2, Workers: 2}} {
		whole := collect(t, trainLoader(t, set, opt, tr), 4, 0)
		for from := range len(whole) + 1 {
			if rest := collect(t, trainLoader(t, set, opt, tr), 4, from); !slices.EqualFunc(rest, whole[from:], equal) {
				t.Errorf("%+v: from step %d: the rest of the epoch differs", opt, from)
			}
		}
	}
}

func TestSeedPurposeAndEpochMatter(t *testing.T) {
	set := testSet(64)
	first := func(seed uint64, purpose string, epoch int) Batch {
		return collect(t, trainLoader(t, set, Options{Batch: 64}, Training{seed, purpose, deit}), epoch, 0)[0]
	}
	base := first(1, "meta", 0)
	for name, b := range map[string]Batch{"seed": first(2, "meta", 0), "purpose": first(1, "modular", 0), "epoch": first(1, "meta", 1)} {
		if slices.Equal(b.Samples, base.Samples) || slices.Equal(b.Targets, base.Targets) {
			t.Errorf("another %s has the same order or mixing", name)
		}
	}
	if !equal(base, first(1, "meta", 0)) {
		t.Error("not repeatable")
	}
}

// Every epoch draws new flips for its images and new mixing for its batches.
func TestDrawsDifferBetweenEpochsAndSteps(t *testing.T) {
	set := testSet(64)
	for i := range set.Len() { // the left column tells whether an image is flipped
		for y := range set.Height {
			set.Images[i*48+y*4] = 0
		}
	}
	l := trainLoader(t, set, Options{Batch: 8}, Training{Augment: Augment{Flip: 0.5}})
	const epochs = 16
	flips := make([]int, set.Len()) // of each image, a bit an epoch
	for epoch := range epochs {
		for _, b := range collect(t, l, epoch, 0) {
			for row, i := range b.Samples {
				if b.Images[row*48] == testValues(i)[0] {
					flips[i] |= 1 << epoch
				}
			}
		}
	}
	slices.Sort(flips)
	if flips = slices.Compact(flips); len(flips) < 60 { // of 64 images, 2^16 patterns
		t.Errorf("64 images have only %d patterns of flips in %d epochs", len(flips), epochs)
	}

	l = trainLoader(t, set, Options{Batch: 8}, Training{Augment: Augment{Mixup: 1, MixProb: 1}})
	lambdas := map[float32]bool{}
	for epoch := range epochs {
		for _, b := range collect(t, l, epoch, 0) {
			for row, c := range b.Labels {
				if c != b.Labels[7-row] {
					lambdas[b.Targets[row*3+int(c)]] = true
					break
				}
			}
		}
	}
	if len(lambdas) < 120 { // of 128 batches, of which few have no unequal pair
		t.Errorf("only %d values of lambda", len(lambdas))
	}
}

// A worker that is in the middle of a batch when the loop ends must not write into the
// next iteration.
func TestUseAfterBreak(t *testing.T) {
	set := testSet(100)
	tr := Training{Augment: deit}
	want := collect(t, trainLoader(t, set, Options{Batch: 25}, tr), 1, 0)
	l := trainLoader(t, set, Options{Batch: 25, Prefetch: 2, Workers: 2}, tr)
	for range 50 {
		for _, err := range l.Epoch(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if got := collect(t, l, 1, 0); !slices.EqualFunc(got, want, equal) {
			t.Fatal("the epoch after a break differs")
		}
	}
}

// A break, a panic of the caller, or a cancelled context must leave no goroutine:
// synctest fails if one is running when the function returns.
func TestNoGoroutineIsLeft(t *testing.T) {
	for _, opt := range []Options{{Batch: 2}, {Batch: 2, Prefetch: 1}, {Batch: 2, Prefetch: 4, Workers: 3}} {
		for name, stop := range map[string]func(cancel func()) bool{
			"break":  func(func()) bool { return true },
			"panic":  func(func()) bool { panic("caller") },
			"cancel": func(cancel func()) bool { cancel(); return false },
			"end":    func(func()) bool { return false },
		} {
			t.Run(fmt.Sprintf("%s/prefetch %d", name, opt.Prefetch), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					l := trainLoader(t, testSet(40), opt, Training{Augment: deit})
					steps := 0
					var last error
					func() {
						defer func() { recover() }()
						for b, err := range l.Epoch(ctx, 0, 0) {
							if last = err; err != nil {
								if b != nil {
									t.Error("a batch with an error")
								}
								continue
							}
							if steps++; steps == 3 && stop(cancel) {
								break
							}
						}
					}()
					if want := map[string]int{"break": 3, "panic": 3, "cancel": 3, "end": 20}[name]; steps != want {
						t.Errorf("%d steps, want %d", steps, want)
					}
					if (name == "cancel") != errors.Is(last, context.Canceled) {
						t.Errorf("error %v", last)
					}
					// The loader can be used again.
					if n := len(collect(t, l, 1, 0)); n != 20 {
						t.Errorf("%d batches afterwards", n)
					}
				})
			})
		}
	}
}

// While the caller uses a batch, exactly Prefetch others get ready, and the caller's
// batch does not change.
func TestPrefetchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := trainLoader(t, testSet(60), Options{Batch: 3, Prefetch: 3, Workers: 2}, Training{Augment: deit})
		for b, err := range l.Epoch(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			samples := slices.Clone(b.Samples)
			synctest.Wait() // all workers wait for work
			ready := 0
			for _, s := range l.slots {
				ready += len(s.ready)
			}
			if want := min(3, l.Steps()-1-b.Step); ready != want {
				t.Errorf("step %d: %d batches ready, want %d", b.Step, ready, want)
			}
			if !slices.Equal(samples, b.Samples) {
				t.Errorf("step %d: the batch in use was changed", b.Step)
			}
		}
	})
}

func TestEpochRefuses(t *testing.T) {
	l := trainLoader(t, testSet(40), Options{Batch: 4, Prefetch: 1}, Training{})
	failure := func(ctx context.Context, epoch, from int) (err error) {
		for _, err = range l.Epoch(ctx, epoch, from) {
		}
		return err
	}
	if err := failure(t.Context(), 0, 11); err == nil || !strings.Contains(err.Error(), "step of 0 to 10") {
		t.Errorf("a step after the end: %v", err)
	}
	if err := failure(t.Context(), -1, 0); err == nil {
		t.Error("epoch -1: no error")
	}
	if err := failure(t.Context(), 0, 10); err != nil {
		t.Errorf("the end itself: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the disk is full")
	cancel(cause)
	if err := failure(ctx, 0, 0); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	for range l.Epoch(t.Context(), 0, 0) {
		if err := failure(t.Context(), 0, 0); err == nil || !strings.Contains(err.Error(), "at the same time") {
			t.Errorf("two iterations: %v", err)
		}
		break
	}
}

func TestNewLoaderRefuses(t *testing.T) {
	for want, c := range map[string]struct {
		opt    Options
		change func(*Set, *Training)
	}{
		"batch size is 0":              {Options{}, nil},
		"prefetch -1":                  {Options{Batch: 1, Prefetch: -1}, nil},
		"batch size 11 is larger":      {Options{Batch: 11}, nil},
		"for test: flip is 2":          {Options{Batch: 1}, func(_ *Set, tr *Training) { tr.Augment.Flip = 2 }},
		"label of image 3 is 3":        {Options{Batch: 1}, func(s *Set, _ *Training) { s.Labels[3] = 3 }},
		"479 bytes of pixels, want 48": {Options{Batch: 1}, func(s *Set, _ *Training) { s.Images = s.Images[1:] }},
		"no images":                    {Options{Batch: 1}, func(s *Set, _ *Training) { s.Labels = nil }},
		"of channel 1 is 0":            {Options{Batch: 1}, func(s *Set, _ *Training) { s.Std[1] = 0 }},
		"1 means":                      {Options{Batch: 1}, func(s *Set, _ *Training) { s.Mean = s.Mean[:1] }},
	} {
		set, tr := testSet(10), Training{}
		if c.change != nil {
			c.change(set, &tr)
		}
		if _, err := NewTrainLoader(set, c.opt, tr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// An epoch may allocate, but its batches may not: a whole epoch allocates as much as its
// last step alone.
func TestBatchesDoNotAllocate(t *testing.T) {
	set := testSet(80)
	for _, opt := range []Options{{Batch: 2}, {Batch: 2, Prefetch: 2, Workers: 2}, {Batch: 5, Prefetch: 2, Workers: 2}} {
		a := deit
		a.MixBatch = 2
		l := trainLoader(t, set, opt, Training{Augment: a})
		allocs := func(from int) float64 {
			return testing.AllocsPerRun(20, func() {
				for _, err := range l.Epoch(context.Background(), 0, from) {
					if err != nil {
						t.Fatal(err)
					}
				}
			})
		}
		if one, all := allocs(l.Steps()-1), allocs(0); all > one {
			t.Errorf("%+v: %v allocations for %d steps, %v for one", opt, all, l.Steps(), one)
		}
	}
}

func BenchmarkTrainLoader(b *testing.B) {
	set, _, err := Open(b.Context(), Source{Name: "fashion-mnist-5k"})
	if err != nil {
		b.Fatal(err)
	}
	a := Augment{CropPadding: 2, Flip: 0.5, Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5, Smoothing: 0.1}
	for _, opt := range []Options{{Batch: 100}, {Batch: 100, Prefetch: 2, Workers: 1}, {Batch: 100, Prefetch: 4, Workers: 2}} {
		b.Run(fmt.Sprintf("prefetch=%d/workers=%d", opt.Prefetch, opt.Workers), func(b *testing.B) {
			l := trainLoader(b, set, opt, Training{Augment: a})
			b.ReportAllocs()
			images, epoch := 0, 0
			for b.Loop() {
				for _, err := range l.Epoch(b.Context(), epoch, 0) {
					if err != nil {
						b.Fatal(err)
					}
					images += opt.Batch
				}
				epoch++
			}
			b.ReportMetric(float64(images)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
