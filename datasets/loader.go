package datasets

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"hatchery/datasets/randaugment"
	"hatchery/engine/random"
)

// Options configure a loader. Prefetch and Workers do not affect the batches.
type Options struct {
	Batch int // images per batch

	// Size is the height and width of the images of a batch; 0 means those of the
	// set. If the images of the set have another size, or differ in size, they are
	// resized as in DeiT: by a random resized crop in training if that is on,
	// otherwise the shorter side is resized to 256/224 of Size and the centre is
	// cropped.
	Size int

	// Raw requests batches in their raw form (see Batch), for a device that
	// normalises, erases and mixes.
	Raw bool

	// Steps is the number of batches of a training epoch; 0 means as many as the
	// set has. With the steps of the whole set, training on a part takes as long as
	// on the whole: an epoch passes through the part repeatedly, in a new order
	// each time.
	Steps int

	// Prefetch is the number of batches that are prepared or ready while the caller
	// uses one. Each takes the memory of a batch. With 0, a batch is prepared when
	// the caller asks for it, in the caller's goroutine.
	Prefetch int

	// Workers is the number of goroutines that prepare batches; they share the work
	// on each batch. 0 means one. Without Prefetch there are none.
	Workers int
}

// Training holds the seed, purpose and augmentation of training batches.
type Training struct {
	Seed    uint64 // of the run
	Purpose string // loaders with the same seed and purpose yield the same batches
	Augment Augment
}

// Loader yields the batches of a set, epoch by epoch. It reuses its buffers, so only
// one iteration may run at a time.
type Loader struct {
	set      *Set
	spec     Spec // of the images of a batch
	opt      Options
	training *Training // nil for evaluation
	steps    int
	norm     normaliser

	// Keys of the random streams for the order of an epoch and the mixing of a group.
	orderKey, mixKey string
	mixing           random.Stream

	order    []int      // of the current epoch, pass by pass through the set
	repeats  int        // visits to an image in a pass
	group    int        // number of images that are mixed with one another
	slots    []*slot    // step s is prepared in slot s mod len(slots)
	pairs    int        // pairs of images in a piece of work
	samplers []*sampler // one per worker
	busy     atomic.Bool
}

// slot holds a batch that is being prepared; ready gets a token once it is complete.
type slot struct {
	batch   Batch
	ready   chan struct{}
	pending atomic.Int32 // pieces of work
	failure failure
}

// piece is a piece of work: the pairs first <= i < last of images that are mixed with
// each other.
type piece struct {
	*slot
	first, last int
}

// NewTrainLoader returns a loader of training batches. Each epoch shuffles the
// images and drops the last, incomplete batch, as DeiT does; a batch larger than
// the set is an error.
//
// With repeated augmentation (Hoffer et al., CVPR 2020; DeiT's RASampler) each
// image comes Repeats times in a row, each time with another augmentation, and the
// epoch ends after Augment.Visits images: it sees a part of the set, a different one
// in every epoch.
func NewTrainLoader(set *Set, opt Options, t Training) (*Loader, error) {
	l, err := newLoader(set, opt, &t)
	if err != nil {
		return nil, err
	}
	l.steps = opt.Steps
	if visits := t.Augment.Visits(set.Len()); l.steps == 0 {
		if opt.Batch > visits {
			return nil, fmt.Errorf("batch size %d is larger than the %d training images of %s", opt.Batch, visits, set.Name)
		}
		l.steps = visits / opt.Batch
	}
	l.repeats = max(1, t.Augment.Repeats)
	perPass := l.repeats * set.Len()
	passes := (l.steps*opt.Batch + perPass - 1) / perPass
	l.order = make([]int, passes*set.Len())
	l.orderKey, l.mixKey = t.Purpose+"/order", t.Purpose+"/mix"
	return l, nil
}

// NewEvalLoader returns a loader of all images of a set in order, without
// augmentation and with one-hot targets. The last batch may be incomplete
// (Batch.Size). Every epoch is the same.
func NewEvalLoader(set *Set, opt Options) (*Loader, error) {
	if opt.Steps != 0 {
		return nil, fmt.Errorf("evaluation with %d steps: it always visits all images, set none", opt.Steps)
	}
	l, err := newLoader(set, opt, nil)
	if err != nil {
		return nil, err
	}
	l.steps = (set.Len() + opt.Batch - 1) / opt.Batch
	return l, nil
}

func newLoader(set *Set, opt Options, t *Training) (*Loader, error) {
	if set.partial {
		return nil, fmt.Errorf("this copy of %s has only %v of the training images: only the module of that part can train on it", set.Name, set.Part)
	}
	if err := set.check(); err != nil {
		return nil, err
	}
	if opt.Batch < 1 {
		return nil, fmt.Errorf("batch size is %d, want at least 1", opt.Batch)
	}
	if opt.Prefetch < 0 || opt.Workers < 0 || opt.Steps < 0 {
		return nil, fmt.Errorf("loader with prefetch %d, %d workers and %d steps, want at least 0", opt.Prefetch, opt.Workers, opt.Steps)
	}
	spec := set.Spec
	if opt.Size > 0 {
		spec.Height, spec.Width = opt.Size, opt.Size
	} else if opt.Size < 0 || set.Store != nil {
		return nil, fmt.Errorf("image size is %d, want at least 1: the images of %s differ in size", opt.Size, set.Name)
	}
	var policy *randaugment.Policy
	if t != nil {
		if err := t.Augment.Check(&spec); err != nil {
			return nil, fmt.Errorf("augmentation for %s: %w", set.Name, err)
		}
		if t.Augment.RandAugment != "" {
			var err error
			if policy, err = randaugment.Parse(t.Augment.RandAugment); err != nil {
				return nil, err
			}
		}
	}
	group := opt.Batch
	if t != nil && t.Augment.MixBatch > 0 {
		group = min(group, t.Augment.MixBatch)
	}
	l := &Loader{
		set:      set,
		spec:     spec,
		opt:      opt,
		training: t,
		norm:     newNormaliser(&set.Spec),
		order:    make([]int, set.Len()),
		repeats:  1,
		group:    group,
		slots:    make([]*slot, opt.Prefetch+1),
		samplers: make([]*sampler, max(1, opt.Workers)),
	}
	if opt.Prefetch == 0 {
		l.samplers = l.samplers[:1]
	}
	// Small enough that the workers finish a batch at nearly the same time, large
	// enough that the cost of handing out a piece does not matter.
	l.pairs = max(1, pairs(opt.Batch, group)/(8*len(l.samplers)))
	for i := range l.samplers {
		l.samplers[i] = newSampler(set, &l.spec, t, policy)
	}
	for i := range l.slots {
		l.slots[i] = &slot{batch: newBatch(opt.Batch, group, &l.spec, opt.Raw)}
	}
	return l, nil
}

// check checks that the fields of a set are consistent.
func (s *Set) check() error {
	switch {
	case s.Len() == 0 || len(s.Classes) == 0 || s.Channels < 1:
		return fmt.Errorf("data set %s: no images, no classes or no channels", s.Name)
	case s.Store == nil && s.pixels() <= 0:
		return fmt.Errorf("data set %s: images of %dx%d pixels", s.Name, s.Height, s.Width)
	case s.Store == nil && len(s.Images) != s.Len()*s.pixels():
		return fmt.Errorf("data set %s: %d bytes of pixels, want %d for %d images of %dx%dx%d", s.Name, len(s.Images), s.Len()*s.pixels(), s.Len(), s.Channels, s.Height, s.Width)
	case len(s.Mean) != s.Channels || len(s.Std) != s.Channels:
		return fmt.Errorf("data set %s: %d means and %d deviations for %d channels", s.Name, len(s.Mean), len(s.Std), s.Channels)
	}
	for c, std := range s.Std {
		if !(std > 0) {
			return fmt.Errorf("data set %s: standard deviation of channel %d is %v", s.Name, c, std)
		}
	}
	for i, c := range s.Labels {
		if c < 0 || int(c) >= len(s.Classes) {
			return fmt.Errorf("data set %s: label of image %d is %d, want 0 to %d", s.Name, i, c, len(s.Classes)-1)
		}
	}
	return nil
}

// Steps returns the number of batches of an epoch.
func (l *Loader) Steps() int { return l.steps }

// Epoch returns an iterator over the batches of an epoch (counted from 0) from the
// given step, 0 to Steps, on. A batch is valid until the next iteration. If the
// context is done, or the arguments are wrong, the last pair is a nil batch and the
// error. No goroutine is left when the loop ends, however it ends.
func (l *Loader) Epoch(ctx context.Context, epoch, from int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if epoch < 0 || from < 0 || from > l.steps {
			yield(nil, fmt.Errorf("epoch %d from step %d: want an epoch of at least 0 and a step of 0 to %d", epoch, from, l.steps))
			return
		}
		if !l.busy.CompareAndSwap(false, true) {
			yield(nil, errors.New("datasets: two iterations over one loader at the same time"))
			return
		}
		defer l.busy.Store(false)
		l.shuffle(epoch)
		if l.opt.Prefetch == 0 {
			l.iterate(ctx, epoch, from, yield)
		} else {
			l.iterateAhead(ctx, epoch, from, yield)
		}
	}
}

// shuffle sets the order of an epoch, pass by pass through the set.
func (l *Loader) shuffle(epoch int) {
	var s random.Stream
	for pass := range len(l.order) / l.set.Len() {
		order := l.order[pass*l.set.Len():][:l.set.Len()]
		for i := range order {
			order[i] = i
		}
		if l.training != nil {
			if pass == 0 {
				s.Reset(l.training.Seed, l.orderKey, uint64(epoch))
			} else {
				s.Reset(l.training.Seed, l.orderKey, uint64(epoch), uint64(pass))
			}
			s.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
	}
}

// iterate prepares each batch when it is its turn.
func (l *Loader) iterate(ctx context.Context, epoch, from int, yield func(*Batch, error) bool) {
	s := l.slots[0]
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		n := l.begin(s, epoch, step)
		l.prepare(piece{s, 0, n}, l.samplers[0])
		if err := s.failure.error(); err != nil {
			yield(nil, err)
			return
		}
		if !yield(&s.batch, nil) {
			return
		}
	}
}

// iterateAhead lets workers prepare the batches that follow the one in use.
func (l *Loader) iterateAhead(ctx context.Context, epoch, from int, yield func(*Batch, error) bool) {
	// Work is dispatched only once its slot is free, and the channel has room for
	// the work of all slots, so sending never blocks.
	work := make(chan piece, len(l.slots)*(pairs(l.opt.Batch, l.group)/l.pairs+1))
	for _, s := range l.slots {
		s.ready = make(chan struct{}, 1)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(work)
	stop := make(chan struct{}) // keeps workers from beginning dispatched work
	defer close(stop)
	for _, sampler := range l.samplers {
		workers.Go(func() {
			for p := range work {
				select {
				case <-stop:
					return
				default:
				}
				l.prepare(p, sampler)
				if p.pending.Add(-1) == 0 {
					p.ready <- struct{}{}
				}
			}
		})
	}
	dispatch := func(step int) {
		s := l.slots[step%len(l.slots)]
		n := l.begin(s, epoch, step)
		s.pending.Store(int32((n + l.pairs - 1) / l.pairs))
		for first := 0; first < n; first += l.pairs {
			work <- piece{s, first, min(first+l.pairs, n)}
		}
	}

	for step := from; step < min(from+len(l.slots), l.steps); step++ {
		dispatch(step)
	}
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		s := l.slots[step%len(l.slots)]
		<-s.ready // without ctx: the deferred Wait would wait for the batch anyway
		if err := s.failure.error(); err != nil {
			yield(nil, err)
			return
		}
		if !yield(&s.batch, nil) {
			return
		}
		if next := step + len(l.slots); next < l.steps {
			dispatch(next)
		}
	}
}

// begin prepares the parts of a batch that its images share, and returns the number
// of pairs of images to prepare. The batch is a function of the arguments of begin
// and prepare, the order of the epoch and the arguments of the loader.
func (l *Loader) begin(s *slot, epoch, step int) int {
	s.failure.reset()
	b := &s.batch
	b.Epoch, b.Step, b.Size = epoch, step, l.opt.Batch
	for group := range b.Mixes {
		b.Mixes[group] = l.mix(epoch, step, group)
	}
	if l.training == nil {
		b.Size = min(l.opt.Batch, l.set.Len()-step*l.opt.Batch)
	}
	for row := b.Size; row < l.opt.Batch; row++ {
		b.blank(row)
	}
	return pairs(b.Size, l.group)
}

// mix draws the Mix of a group of a batch. The draw of the first group does not depend on
// the number of groups.
func (l *Loader) mix(epoch, step, group int) Mix {
	t := l.training
	if t == nil {
		return unmixed
	}
	if group == 0 {
		l.mixing.Reset(t.Seed, l.mixKey, uint64(epoch), uint64(step))
	} else {
		l.mixing.Reset(t.Seed, l.mixKey, uint64(epoch), uint64(step), uint64(group))
	}
	return t.Augment.drawMix(&l.mixing, l.spec.Height, l.spec.Width)
}

// prepare writes the images and targets of a piece.
func (l *Loader) prepare(p piece, s *sampler) {
	b := &p.batch
	for i := p.first; i < p.last; i++ {
		row, partner := pair(i, b.Size, l.group)
		ok := l.writeImage(p.slot, row, s)
		if partner != row {
			ok = l.writeImage(p.slot, partner, s) && ok
		}
		if l.opt.Raw || !ok {
			continue
		}
		size, classes := l.spec.pixels(), len(l.spec.Classes)
		label, other := b.Labels[row], b.Labels[partner]
		mix := b.Mixes[row/l.group]
		mix.target(b.Targets[row*classes:][:classes], label, other, l.smoothing())
		if partner != row {
			mix.images(b.Images[row*size:][:size], b.Images[partner*size:][:size], l.spec.Height, l.spec.Width)
			mix.target(b.Targets[partner*classes:][:classes], other, label, l.smoothing())
		}
	}
}

// writeImage writes one image of a batch, not yet mixed, and reports whether it
// succeeded.
func (l *Loader) writeImage(to *slot, row int, s *sampler) bool {
	b, size := &to.batch, l.spec.pixels()
	v := l.visit(b.Step*l.opt.Batch + row)
	b.Samples[row], b.Labels[row] = v.image, l.set.Labels[v.image]
	pixels := s.pixels
	if l.opt.Raw {
		pixels = b.Pixels[row*size:][:size]
	}
	erase, err := s.sample(pixels, b.Epoch, v)
	if err != nil {
		to.failure.set(row, err)
		return false
	}
	if l.opt.Raw {
		b.Erase[row] = erase
		return true
	}
	image := b.Images[row*size:][:size]
	l.norm.apply(image, pixels)
	erase.apply(image, l.spec.Height, l.spec.Width)
	return true
}

// visit is one visit of an epoch to an image of the set.
type visit struct {
	image   int
	earlier int // number of earlier visits to the image in this epoch
}

// visit returns the i-th visit of the epoch.
func (l *Loader) visit(i int) visit {
	position := i / l.repeats
	pass := position / l.set.Len()
	return visit{image: l.order[position], earlier: pass*l.repeats + i%l.repeats}
}

func (l *Loader) smoothing() float64 {
	if l.training == nil {
		return 0
	}
	return l.training.Augment.Smoothing
}

// failure is the error of a batch: that of its first image with an error, in the order
// of the batch.
type failure struct {
	mu  sync.Mutex
	row int
	err error
}

func (f *failure) reset() { f.err = nil }

func (f *failure) set(row int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || row < f.row {
		f.row, f.err = row, err
	}
}

// error returns the error. No worker may be preparing the batch.
func (f *failure) error() error { return f.err }
