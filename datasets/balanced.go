package datasets

import (
	"fmt"
	"slices"

	"hatchery/engine/random"
)

// Balanced returns a part of n images with equally many of each class, in the
// order they have in s; where n is not a multiple of the number of classes, the
// first classes have one image more. Which images are taken is a function of
// the seed alone, and a smaller part lies within a larger one. It is an error
// if a class has too few images.
func (s *Set) Balanced(n int, seed uint64) (*Set, error) {
	take, err := quota(&s.Spec, s.Labels, n)
	if err != nil {
		return nil, err
	}
	ofClass := make([][]int, len(s.Classes))
	for i, c := range s.Labels {
		ofClass[c] = append(ofClass[c], i)
	}
	var chosen []int
	var stream random.Stream
	for c, images := range ofClass {
		stream.Reset(seed, "balanced part", uint64(c))
		stream.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
		chosen = append(chosen, images[:take[c]]...)
	}
	slices.Sort(chosen)

	part := &Set{
		Spec:   s.Spec,
		Images: make([]uint8, 0, n*s.pixels()),
		Labels: make([]int32, 0, n),
	}
	for _, i := range chosen {
		part.Images = append(part.Images, s.Image(i)...)
		part.Labels = append(part.Labels, s.Labels[i])
	}
	return part, nil
}

// quota is how many images of each class are in a balanced part of n images, or
// an error if the labels do not have that many.
func quota(spec *Spec, labels []int32, n int) ([]int, error) {
	if n <= 0 || n > len(labels) {
		return nil, fmt.Errorf("a part of %d images was asked for, %s has %d: want 1 to %d, or 0 for all", n, spec.Name, len(labels), len(labels))
	}
	have := make([]int, len(spec.Classes))
	for _, c := range labels {
		have[c]++
	}
	take := make([]int, len(spec.Classes))
	for c := range take {
		take[c] = n / len(take)
		if c < n%len(take) {
			take[c]++
		}
		if take[c] > have[c] {
			return nil, fmt.Errorf("a class-balanced part of %d images needs %d of class %q, %s has %d", n, take[c], spec.Classes[c], spec.Name, have[c])
		}
	}
	return take, nil
}
