package datasets

import "hatchery/engine/random"

// sampler makes the images of a batch one by one. Each worker has its own, with
// all the memory it needs, so that an image allocates nothing.
//
// The random numbers of a visit are a function of the run's seed, the purpose
// of the batches, the epoch, the image and, from its second visit in an epoch
// on, the number of visits before. Each kind of change has a stream of its own,
// so that switching one on leaves the others as they were:
//
//	PURPOSE/sample  the crop's place (y, x), then whether it is mirrored
//	PURPOSE/erase   whether, then area and aspect until the box fits, y, x, key
type sampler struct {
	set      *Set
	spec     *Spec     // of the images it makes
	training *Training // nil: evaluation
	stream   random.Stream
	pixels   []uint8 // room for one image

	sampleKey, eraseKey string
}

func newSampler(set *Set, spec *Spec, t *Training) *sampler {
	s := &sampler{set: set, spec: spec, training: t, pixels: make([]uint8, spec.pixels())}
	if t != nil {
		s.sampleKey, s.eraseKey = t.Purpose+"/sample", t.Purpose+"/erase"
	}
	return s
}

// reset points the stream at the numbers of one kind of change in one visit.
func (s *sampler) reset(key string, epoch int, v visit) {
	if v.again == 0 {
		s.stream.Reset(s.training.Seed, key, uint64(epoch), uint64(v.image))
	} else {
		s.stream.Reset(s.training.Seed, key, uint64(epoch), uint64(v.image), uint64(v.again))
	}
}

// sample writes the pixels of an image, Channels x Height x Width, and says what
// is to be erased of them once they are normalised.
func (s *sampler) sample(dst []uint8, epoch int, v visit) (Erase, error) {
	src := s.set.Image(v.image)
	if s.training == nil {
		copy(dst, src)
		return Erase{}, nil
	}
	a := &s.training.Augment
	s.reset(s.sampleKey, epoch, v)
	a.drawGeometry(&s.stream).apply(dst, src, s.spec)
	if a.Reprob == 0 {
		return Erase{}, nil
	}
	s.reset(s.eraseKey, epoch, v)
	return a.drawErase(&s.stream, s.spec.Height, s.spec.Width), nil
}
