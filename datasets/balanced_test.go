package datasets

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/picture"
)

// indices returns the images of testSet that a part has, and checks their labels.
func indices(t *testing.T, s *Set) (is []int) {
	t.Helper()
	for i := range s.Len() {
		is = append(is, int(s.Image(i)[0])-10)
		if s.Labels[i] != int32(is[i]%3) {
			t.Errorf("image %d has label %d", is[i], s.Labels[i])
		}
	}
	return is
}

func TestFraction(t *testing.T) {
	set := testSet(100) // 34, 33 and 33 of the three classes
	for f, want := range map[float64][]int{
		1: {34, 33, 33}, 0.5: {17, 17, 17}, 0.25: {9, 8, 8}, 0.1: {3, 3, 3}, 0.001: {1, 1, 1},
	} {
		part, err := set.Fraction(f, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := part.check(); err != nil {
			t.Error(err)
		}
		got := indices(t, part)
		if counts := perClass(&part.Spec, part.Labels); !slices.Equal(counts, want) || !slices.IsSorted(got) || len(slices.Compact(got)) != part.Len() || part.Whole != 100 {
			t.Errorf("fraction %v: %v of each class, want %v; images %v of %d", f, counts, want, got, part.Whole)
		}
	}
	half, _ := set.Fraction(0.5, 1)
	quarter, _ := set.Fraction(0.25, 1)
	for _, i := range indices(t, quarter) {
		if !slices.Contains(indices(t, half), i) {
			t.Errorf("image %d is in the quarter and not in the half", i)
		}
	}
	if again, _ := half.Fraction(0.5, 1); again.Whole != 100 {
		t.Errorf("a part of a part is of %d images", again.Whole)
	}
	for _, f := range []float64{0, -1, 1.01, math.NaN()} {
		if _, err := set.Fraction(f, 1); err == nil || !strings.Contains(err.Error(), "want more than 0, up to 1") {
			t.Errorf("fraction %v: %v", f, err)
		}
	}
}

func TestPartition(t *testing.T) {
	set := testSet(101)
	for k := 1; k <= 7; k++ {
		seen := make([]int, set.Len())
		var sizes []int
		classes := make([][]int, 3)
		for i := range k {
			part, err := set.Partition(k, i, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := part.check(); err != nil {
				t.Error(err)
			}
			got := indices(t, part)
			if !slices.IsSorted(got) {
				t.Errorf("part %d of %d: %v", i, k, got)
			}
			for _, image := range got {
				seen[image]++
			}
			sizes = append(sizes, part.Len())
			for c, n := range perClass(&part.Spec, part.Labels) {
				classes[c] = append(classes[c], n)
			}
		}
		if slices.Min(seen) != 1 || slices.Max(seen) != 1 {
			t.Errorf("%d parts have images %v times", k, seen)
		}
		for _, counts := range slices.Concat(classes, [][]int{sizes}) {
			if slices.Max(counts)-slices.Min(counts) > 1 {
				t.Errorf("%d parts have %v images of one kind", k, counts)
			}
		}
	}
	a, _ := set.Partition(4, 2, 1)
	b, _ := set.Partition(4, 2, 1)
	c, _ := set.Partition(4, 2, 2)
	if !slices.Equal(indices(t, a), indices(t, b)) || slices.Equal(indices(t, a), indices(t, c)) {
		t.Error("the seed alone must decide")
	}
	for _, ki := range [][2]int{{0, 0}, {-1, 0}, {4, 4}, {4, -1}, {102, 0}} {
		if _, err := set.Partition(ki[0], ki[1], 1); err == nil || !strings.Contains(err.Error(), "want 1 to 101 parts") {
			t.Errorf("part %d of %d: %v", ki[1], ki[0], err)
		}
	}
}

// numbered is a store whose picture i is one pixel with the value i.
type numbered struct{}

func (numbered) Load(i int, p *picture.Picture) error {
	p.Reset(1, 1, 1)
	p.Pix[0] = uint8(i)
	return nil
}

func TestPartsOfAStore(t *testing.T) {
	set := testSet(90)
	stored := &Set{Spec: set.Spec, Labels: set.Labels, Store: numbered{}}
	half, _ := set.Fraction(0.5, 3)
	storedHalf, _ := stored.Fraction(0.5, 3)
	want, _ := half.Partition(3, 1, 4)
	got, _ := storedHalf.Partition(3, 1, 4)
	if !slices.Equal(got.Labels, want.Labels) {
		t.Errorf("labels %v, want %v", got.Labels, want.Labels)
	}
	var p picture.Picture
	for i, image := range indices(t, want) {
		if err := got.Store.Load(i, &p); err != nil || int(p.Pix[0]) != image {
			t.Errorf("picture %d is %d, want %d; %v", i, p.Pix[0], image, err)
		}
	}
}

// With Steps, an epoch passes through the set repeatedly, each time in another order and
// with other draws. It begins like an epoch without Steps.
func TestSteps(t *testing.T) {
	set := testSet(10)
	tr := Training{Seed: 5, Purpose: "test", Augment: deit}
	plain := collect(t, trainLoader(t, set, Options{Batch: 5}, tr), 1, 0)
	for _, opt := range []Options{{Batch: 5, Steps: 7}, {Batch: 5, Steps: 7, Prefetch: 3, Workers: 2}} {
		l := trainLoader(t, set, opt, tr)
		got := collect(t, l, 1, 0)
		if len(got) != 7 || l.Steps() != 7 {
			t.Fatalf("%d batches, %d steps", len(got), l.Steps())
		}
		if !slices.EqualFunc(got[:2], plain, equal) {
			t.Error("the first pass is not that of an epoch without Steps")
		}
		orders := map[string]bool{}
		for pass := range 3 {
			order := slices.Concat(got[2*pass].Samples, got[2*pass+1].Samples)
			orders[fmt.Sprint(order)] = true
			slices.Sort(order)
			if len(slices.Compact(order)) != 10 {
				t.Errorf("pass %d does not visit every image", pass)
			}
		}
		if len(orders) != 3 {
			t.Errorf("orders of three passes: %v", orders)
		}
		if rest := collect(t, l, 1, 5); !slices.EqualFunc(rest, got[5:], equal) {
			t.Error("from step 5: the rest of the epoch differs")
		}
	}
	// Two visits to an image have different augmentation.
	flips := trainLoader(t, flippable(), Options{Batch: 1, Steps: 64}, Training{Augment: Augment{Flip: 0.5}})
	flipped := 0
	for _, b := range collect(t, flips, 0, 0) {
		if b.Images[0] != 0 {
			flipped++
		}
	}
	if flipped < 16 || flipped > 48 {
		t.Errorf("one image was flipped %d times of 64", flipped)
	}
	if _, err := NewTrainLoader(set, Options{Batch: 20, Steps: 1}, tr); err != nil {
		t.Errorf("a batch larger than the set: %v", err)
	}
	if _, err := NewTrainLoader(set, Options{Batch: 5, Steps: -1}, tr); err == nil {
		t.Error("-1 steps: no error")
	}
	if _, err := NewEvalLoader(set, Options{Batch: 5, Steps: 1}); err == nil {
		t.Error("an evaluation of some steps: no error")
	}
}

// flippable is one image, dark on its left and light on its right.
func flippable() *Set {
	return &Set{
		Spec:   Spec{Name: "test", Classes: []string{"a"}, Channels: 1, Height: 1, Width: 2, Mean: []float32{0}, Std: []float32{1}},
		Images: []uint8{0, 255}, Labels: []int32{0},
	}
}
