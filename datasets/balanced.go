package datasets

import (
	"fmt"
	"math"
	"slices"

	"hatchery/datasets/picture"
	"hatchery/engine/random"
)

// Balanced returns a part of n images with equally many of each class, in their order
// in s; if n is not a multiple of the number of classes, the first classes have one
// image more. The choice of images depends only on the seed, and a smaller part is a
// subset of a larger one. It is an error if a class has too few images.
func (s *Set) Balanced(n int, seed uint64) (*Set, error) {
	take, err := quota(&s.Spec, s.Labels, n)
	if err != nil {
		return nil, err
	}
	return s.sampled(take, seed), nil
}

// Fraction returns a part with the fraction f, above 0 to 1, of the images of
// each class, rounded but at least one (the paper's Table 3 with 0.5 and 0.25).
// If classes differ in size, as ImageNet's do, the part keeps their proportions. Order
// and choice are those of Balanced.
func (s *Set) Fraction(f float64, seed uint64) (*Set, error) {
	take, err := share(&s.Spec, s.Labels, f)
	if err != nil {
		return nil, err
	}
	return s.sampled(take, seed), nil
}

// Partition returns part i, 0 <= i < k, of k disjoint parts that together are the set.
// For each class, the parts have numbers of images that differ by at most one (the
// paper's DistData: module i trains on part i). Order and choice are those of Balanced.
//
// For a copy that has only one part (see WriteParts), any other part is an error.
func (s *Set) Partition(k, i int, seed uint64) (*Set, error) {
	if s.partial {
		if want := (Part{k, i, seed}); want != s.Part {
			return nil, fmt.Errorf("%v of %s is not in this copy, which has only %v", want, s.Name, s.Part)
		}
		part := *s
		part.partial = false
		return &part, nil
	}
	if k < 1 || k > s.Len() || i < 0 || i >= k {
		return nil, fmt.Errorf("part %d of %d of %s does not exist: want 1 to %d parts, counted from 0", i, k, s.Name, s.Len())
	}
	var chosen []int
	// The surplus images of each class go to the parts after those of the class
	// before; otherwise the first part would get all of them.
	next := 0
	for _, images := range s.shuffled(seed) {
		for j, image := range images {
			if (next+j)%k == i {
				chosen = append(chosen, image)
			}
		}
		next = (next + len(images)) % k
	}
	slices.Sort(chosen)
	part := s.take(chosen)
	part.Part = Part{k, i, seed}
	return part, nil
}

// sampled returns the part with take[c] random images of each class c.
func (s *Set) sampled(take []int, seed uint64) *Set {
	var chosen []int
	for c, images := range s.shuffled(seed) {
		chosen = append(chosen, images[:take[c]]...)
	}
	slices.Sort(chosen)
	return s.take(chosen)
}

// shuffled returns the images of each class in an order that depends only on the seed.
func (s *Set) shuffled(seed uint64) [][]int {
	ofClass := make([][]int, len(s.Classes))
	for i, c := range s.Labels {
		ofClass[c] = append(ofClass[c], i)
	}
	var stream random.Stream
	for c, images := range ofClass {
		stream.Reset(seed, "balanced part", uint64(c))
		stream.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
	}
	return ofClass
}

// take returns the part with the given images.
func (s *Set) take(images []int) *Set {
	part := &Set{Spec: s.Spec, Labels: make([]int32, 0, len(images)), Whole: max(s.Whole, s.Len()), Part: s.Part, partial: s.partial}
	for _, i := range images {
		part.Labels = append(part.Labels, s.Labels[i])
	}
	if s.Store != nil {
		part.Store = &partStore{s.Store, images}
		return part
	}
	if s.Images == nil { // an outline
		return part
	}
	part.Images = make([]uint8, 0, len(images)*s.pixels())
	for _, i := range images {
		part.Images = append(part.Images, s.Image(i)...)
	}
	return part
}

// partStore is a subset of another store.
type partStore struct {
	all    Store
	images []int
}

func (s *partStore) Load(i int, p *picture.Picture) error {
	return s.all.Load(s.images[i], p)
}

func (s *partStore) file(i int, b []byte) ([]byte, int, int, error) {
	return s.all.(fileStore).file(s.images[i], b)
}

// quota returns the number of images of each class in a balanced part of n images. It is
// an error if a class has fewer.
func quota(spec *Spec, labels []int32, n int) ([]int, error) {
	if n <= 0 || n > len(labels) {
		return nil, fmt.Errorf("cannot take %d images of %s, which has %d: want 1 to %d, or 0 for all", n, spec.Name, len(labels), len(labels))
	}
	have := perClass(spec, labels)
	take := make([]int, len(spec.Classes))
	for c := range take {
		take[c] = n / len(take)
		if c < n%len(take) {
			take[c]++
		}
		if take[c] > have[c] {
			return nil, fmt.Errorf("a class-balanced part of %d images needs %d of class %q, but %s has %d", n, take[c], spec.Classes[c], spec.Name, have[c])
		}
	}
	return take, nil
}

// share returns the number of images of each class in a fraction of the set.
func share(spec *Spec, labels []int32, f float64) ([]int, error) {
	if !(f > 0 && f <= 1) { // NaN too
		return nil, fmt.Errorf("fraction %v of %s: want more than 0, up to 1", f, spec.Name)
	}
	take := perClass(spec, labels)
	for c, n := range take {
		take[c] = min(n, max(1, int(math.Round(f*float64(n)))))
	}
	return take, nil
}

// perClass returns the number of images of each class.
func perClass(spec *Spec, labels []int32) []int {
	have := make([]int, len(spec.Classes))
	for _, c := range labels {
		have[c]++
	}
	return have
}
