package datasets

import (
	"fmt"
	"math"

	"hatchery/datasets/picture"
	"hatchery/datasets/randaugment"
	"hatchery/engine/random"
)

// sampler makes the images of a batch one by one. Each worker has its own, with all
// the memory that it needs, so that making an image allocates nothing.
//
// The random numbers of a visit are a function of the run's seed, the purpose of the
// batches, the epoch, the image and, from its second visit in an epoch on, the number
// of earlier visits. Each kind of change has its own stream, so that switching one on
// does not change the others:
//
//	PURPOSE/sample  the resized crop's area and aspect until it fits, y and x;
//	                the padded crop's y and x; whether the image is mirrored
//	PURPOSE/colour  RandAugment's draws (see its Apply)
//	PURPOSE/erase   whether, then area and aspect until the box fits, y, x, key
type sampler struct {
	set      *Set
	spec     *Spec     // of the images of a batch
	training *Training // nil for evaluation
	policy   *randaugment.Policy
	fill     []uint8 // colour of pixels that RandAugment takes from outside the image
	stream   random.Stream

	sampleKey, colourKey, eraseKey string

	// Memory: for the image of the set, the image of the batch, one between two
	// changes, and an image in planes.
	whole, image, spare picture.Picture
	resizer             picture.Resizer
	pixels              []uint8
}

func newSampler(set *Set, spec *Spec, t *Training, policy *randaugment.Policy) *sampler {
	s := &sampler{set: set, spec: spec, training: t, policy: policy, pixels: make([]uint8, spec.pixels())}
	s.fill = randaugment.Fill(spec.Mean)
	if t != nil {
		s.sampleKey, s.colourKey, s.eraseKey = t.Purpose+"/sample", t.Purpose+"/colour", t.Purpose+"/erase"
	}
	return s
}

// reset sets the stream to that of one kind of change in one visit.
func (s *sampler) reset(key string, epoch int, v visit) {
	if v.earlier == 0 {
		s.stream.Reset(s.training.Seed, key, uint64(epoch), uint64(v.image))
	} else {
		s.stream.Reset(s.training.Seed, key, uint64(epoch), uint64(v.image), uint64(v.earlier))
	}
}

// sample writes the pixels of an image, Channels x Height x Width, and returns the box
// to erase once they are normalised.
func (s *sampler) sample(dst []uint8, epoch int, v visit) (Erase, error) {
	if s.training == nil {
		return Erase{}, s.evaluation(dst, v.image)
	}
	a := &s.training.Augment
	s.reset(s.sampleKey, epoch, v)
	if s.sameSize() && !a.resizes() && s.policy == nil {
		a.drawGeometry(&s.stream).apply(dst, s.set.Image(v.image), s.spec)
	} else if err := s.augmented(dst, epoch, v); err != nil {
		return Erase{}, err
	}
	if a.Reprob == 0 {
		return Erase{}, nil
	}
	s.reset(s.eraseKey, epoch, v)
	return a.drawErase(&s.stream, s.spec.Height, s.spec.Width), nil
}

// sameSize reports whether the images of the set have the size of a batch's.
func (s *sampler) sameSize() bool {
	return s.set.Store == nil && s.set.Height == s.spec.Height && s.set.Width == s.spec.Width
}

// evaluation writes an image for evaluation: resized and cropped to its centre.
func (s *sampler) evaluation(dst []uint8, i int) error {
	if s.sameSize() {
		copy(dst, s.set.Image(i))
		return nil
	}
	if err := s.load(i); err != nil {
		return err
	}
	s.centre()
	s.image.Planes(dst)
	return nil
}

// augmented writes an image for training that has to be converted to a picture.
func (s *sampler) augmented(dst []uint8, epoch int, v visit) error {
	a := &s.training.Augment
	if s.sameSize() && !a.resizes() {
		// In one pass rather than by two pictures.
		a.drawGeometry(&s.stream).apply(dst, s.set.Image(v.image), s.spec)
		s.image.SetPlanes(dst, s.spec.Width, s.spec.Height, s.spec.Channels)
	} else {
		if err := s.load(v.image); err != nil {
			return err
		}
		if a.resizes() {
			x, y, w, h := a.drawResizedCrop(&s.stream, s.whole.Width, s.whole.Height)
			s.spare.Crop(&s.whole, x, y, w, h)
			s.resize(s.spec.Width, s.spec.Height)
		} else {
			s.centre()
		}
		a.drawGeometry(&s.stream).applyTo(&s.image, &s.spare)
	}
	if s.policy != nil {
		s.reset(s.colourKey, epoch, v)
		s.policy.Apply(&s.stream, &s.image, &s.spare, s.fill)
	}
	s.image.Planes(dst)
	return nil
}

// load sets whole to image i of the set.
func (s *sampler) load(i int) error {
	if s.set.Store == nil {
		s.whole.SetPlanes(s.set.Image(i), s.set.Width, s.set.Height, s.set.Channels)
		return nil
	}
	if err := s.set.Store.Load(i, &s.whole); err != nil {
		return err
	}
	if s.whole.Channels != s.spec.Channels {
		return fmt.Errorf("image %d of %s has %d channels, want %d", i, s.set.Name, s.whole.Channels, s.spec.Channels)
	}
	return nil
}

// evalRatio is the ratio of the resized image to its crop in evaluation (DeiT).
const evalRatio = 256. / 224

// centre sets image to the centre of whole: it resizes the shorter side to evalRatio
// times the image's and crops the centre, like torchvision's Resize and CenterCrop.
func (s *sampler) centre() {
	w, h, size := s.whole.Width, s.whole.Height, s.spec.Height
	w, h = shorter(w, h, int(evalRatio*float64(size)))
	s.whole, s.spare = s.spare, s.whole
	s.resize(w, h)
	s.image, s.spare = s.spare, s.image
	left, top := math.RoundToEven(float64(w-size)/2), math.RoundToEven(float64(h-size)/2)
	s.image.Crop(&s.spare, int(left), int(top), size, size)
}

// resize sets image to spare, resized.
func (s *sampler) resize(w, h int) {
	all := picture.Box{X1: float64(s.spare.Width), Y1: float64(s.spare.Height)}
	s.resizer.Resize(&s.image, &s.spare, w, h, all, picture.Bicubic)
}
