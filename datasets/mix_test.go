package datasets

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// A batch of one group draws the same as in versions without groups, so that runs of such
// versions continue unchanged. So does the first of several groups.
func TestOneGroupDrawsAsEver(t *testing.T) {
	want := []Mix{ // as drawn by the program without groups
		{Lambda: 0.73455566, Rest: 0.26544437},
		{Lambda: 0.625, Rest: 0.375, Cut: true, Y0: 0, Y1: 3, X0: 0, X1: 3},
		{Lambda: 0.5, Rest: 0.5, Cut: true, Y0: 0, Y1: 4, X0: 0, X1: 3},
		{Lambda: 0.25671577, Rest: 0.7432842},
		{Lambda: 0.17160538, Rest: 0.8283946},
		{Lambda: 1, Rest: 0, Cut: true, Y0: 3, Y1: 3, X0: 3, X1: 3},
		{Lambda: 0.5, Rest: 0.5, Cut: true, Y0: 0, Y1: 4, X0: 1, X1: 4},
		{Lambda: 0.9583333, Rest: 0.041666668, Cut: true, Y0: 0, Y1: 1, X0: 2, X1: 3},
	}
	for _, mixBatch := range []int{0, 6, 7, 2, 4} {
		a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 0.9, SwitchProb: 0.5, MixBatch: mixBatch}
		l := trainLoader(t, testSet(60), Options{Batch: 6}, Training{Seed: 3, Purpose: "meta", Augment: a})
		var got []Mix
		for epoch := range 2 {
			for b, err := range l.Epoch(t.Context(), epoch, 0) {
				if err != nil {
					t.Fatal(err)
				}
				if b.Step < 4 {
					got = append(got, b.Mixes[0])
				}
				groups := map[int]int{0: 1, 6: 1, 7: 1, 2: 3, 4: 2}[mixBatch]
				if len(b.Mixes) != groups {
					t.Fatalf("mix_batch %d: %d draws", mixBatch, len(b.Mixes))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("mix_batch %d: drew\n%+v\nwant\n%+v", mixBatch, got, want)
		}
	}
}

// The pairs of a batch are those of its groups, each of which is reversed as if it were a
// batch. The last group may be smaller.
func TestPairsNeverCrossAGroup(t *testing.T) {
	for n := 1; n <= 40; n++ {
		for group := 1; group <= n; group++ {
			var want [][2]int
			for first := 0; first < n; first += group {
				for a, b := first, min(first+group, n)-1; a <= b; a, b = a+1, b-1 {
					want = append(want, [2]int{a, b})
				}
			}
			var got [][2]int
			for i := range pairs(n, group) {
				a, b := pair(i, n, group)
				got = append(got, [2]int{a, b})
				if partner(a, n, group) != b || partner(b, n, group) != a || a/group != b/group {
					t.Errorf("%d images in groups of %d: %d and %d", n, group, a, b)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d images in groups of %d: %v, want %v", n, group, got, want)
			}
		}
	}
}

// A batch in groups equals, image by image, its groups as separate batches with the same
// draws.
func TestGroupsAreBatches(t *testing.T) {
	const n = 11
	plain := trainLoader(t, testSet(60), Options{Batch: n}, Training{Seed: 1, Purpose: "test", Augment: Augment{Smoothing: 0.1}})
	for group := 2; group <= n; group++ {
		a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 0.9, SwitchProb: 0.5, Smoothing: 0.1, MixBatch: group}
		for _, opt := range []Options{{Batch: n}, {Batch: n, Prefetch: 2, Workers: 3}} {
			mixed := collect(t, trainLoader(t, testSet(60), opt, Training{Seed: 1, Purpose: "test", Augment: a}), 0, 0)
			for step, b := range collect(t, plain, 0, 0) {
				l, got := plain, mixed[step]
				images, targets := make([]float32, 0, len(b.Images)), make([]float32, 0, len(b.Targets))
				for first := 0; first < n; first += group {
					last := min(first+group, n)
					part := slices.Clone(b.Images[first*48 : last*48])
					m := got.Mixes[first/group]
					for i, j := 0, last-first-1; i < j; i, j = i+1, j-1 {
						m.images(part[i*48:][:48], part[j*48:][:48], 6, 4)
					}
					images = append(images, part...)
					for i := range last - first {
						row := make([]float32, 3)
						m.target(row, b.Labels[first+i], b.Labels[last-1-i], l.smoothing())
						targets = append(targets, row...)
					}
				}
				if !slices.Equal(got.Images, images) || !slices.Equal(got.Targets, targets) {
					t.Fatalf("%+v in groups of %d: step %d differs", opt, group, step)
				}
			}
		}
	}
}

// Groups draw independently: whether CutMix is used, and lambda, are uncorrelated between
// neighbouring groups of a step, between steps, and between epochs.
func TestGroupsDrawIndependently(t *testing.T) {
	const groups, steps, epochs = 8, 100, 8
	set := testSet(60)
	a := Augment{Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5, MixBatch: 2}
	l := trainLoader(t, set, Options{Batch: 2 * groups, Steps: steps}, Training{Seed: 1, Purpose: "test", Augment: a})
	var lambda, cut [epochs][steps][groups]float64
	for epoch := range epochs {
		for b, err := range l.Epoch(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for g, m := range b.Mixes {
				lambda[epoch][b.Step][g] = float64(m.Lambda)
				if m.Cut {
					cut[epoch][b.Step][g] = 1
				}
			}
		}
	}
	for what, values := range map[string]*[epochs][steps][groups]float64{"lambda": &lambda, "CutMix": &cut} {
		for between, next := range map[string]func(e, s, g int) (int, int, int){
			"groups": func(e, s, g int) (int, int, int) { return e, s, (g + 1) % groups },
			"steps":  func(e, s, g int) (int, int, int) { return e, (s + 1) % steps, g },
			"epochs": func(e, s, g int) (int, int, int) { return (e + 1) % epochs, s, g },
			// As with keys that are added up instead of hashed one by one.
			"a group and the next step's": func(e, s, g int) (int, int, int) { return e, (s + 1) % steps, (g + groups - 1) % groups },
		} {
			var n, x, xx, xy float64
			for e := range epochs {
				for s := range steps {
					for g := range groups {
						f, u, h := next(e, s, g)
						v, w := values[e][s][g], values[f][u][h]
						n, x, xx, xy = n+1, x+v, xx+v*v, xy+v*w
					}
				}
			}
			r := (xy/n - x*x/n/n) / (xx/n - x*x/n/n)
			if math.Abs(r) > 4/math.Sqrt(n) {
				t.Errorf("%s: correlation of %s is %.3f, deviation of chance %.3f", what, between, r, 1/math.Sqrt(n))
			}
		}
		seen := map[float64]bool{}
		for _, v := range values[0][0] {
			seen[v] = true
		}
		if what == "lambda" && len(seen) < groups/2 { // CutMix has few values at 6 x 4 pixels
			t.Errorf("the groups of a step drew %v", values[0][0])
		}
	}
}

// Many small groups of odd size have more pairs than the batch as one group. The queue of
// work must have room for all of them.
func TestOddGroupsWithWorkers(t *testing.T) {
	set := testSet(90)
	for _, group := range []int{3, 5, 7} {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			a := deit
			a.MixBatch = group
			var want []Batch
			for _, opt := range []Options{{}, {Prefetch: 1, Workers: 1}, {Prefetch: 4, Workers: 7}} {
				opt.Batch = 30
				got := collect(t, trainLoader(t, set, opt, Training{Seed: 5, Purpose: "test", Augment: a}), 0, 0)
				if want == nil {
					want = got
				}
				if !slices.EqualFunc(got, want, equal) {
					t.Errorf("%+v: other batches", opt)
				}
			}
		})
	}
}
