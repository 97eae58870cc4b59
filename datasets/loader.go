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

// Options say how a loader works. Prefetch and Workers have no part in what it
// yields.
type Options struct {
	Batch int // images a batch

	// Size is the height and width of the images of a batch; 0: those of the
	// set. Where the images of the set are of another size, or each has its
	// own, they are resized as DeiT does: by a random resized crop in training
	// if there is one, else the shorter side to 256/224 of the size, of which
	// then the middle is cut out.
	Size int

	// Raw asks for batches in their raw form (see Batch), for a device that
	// normalises, erases and mixes.
	Raw bool

	// Steps is the number of batches of a training epoch; 0: as many as the
	// set has. A part of a set trains as long as the whole would with the
	// steps of the whole: an epoch then goes through the part again and again,
	// in another order each time.
	Steps int

	// Prefetch is how many batches are prepared or ready while the caller has
	// one in use. Each takes the memory of a batch. 0: a batch is prepared
	// when it is asked for, in the caller's goroutine.
	Prefetch int

	// Workers is how many goroutines prepare batches, together: a batch is
	// divided among them. 0: one. Without Prefetch there are none.
	Workers int
}

// Training says how training batches are drawn.
type Training struct {
	Seed    uint64 // of the run
	Purpose string // what the batches are for; loaders of one seed and purpose yield the same
	Augment Augment
}

// Loader yields the batches of a set, epoch by epoch. Its buffers are its own
// and are used again and again, so only one iteration may run at a time.
type Loader struct {
	set      *Set
	spec     Spec // of the images of a batch
	opt      Options
	training *Training // nil: evaluation
	steps    int
	norm     normaliser

	// Streams of random numbers: the order of an epoch, the mixing of a group.
	orderKey, mixKey string
	mixing           random.Stream

	order    []int      // of the running epoch, pass by pass through the set
	repeats  int        // visits to an image of a pass
	group    int        // images of a batch that are mixed with one another
	slots    []*slot    // step s is prepared in slot s mod len(slots)
	pairs    int        // of images, in a piece of work
	samplers []*sampler // one a worker
	busy     atomic.Bool
}

// slot is a batch in the making; ready gets a token once it is made.
type slot struct {
	batch  Batch
	ready  chan struct{}
	undone atomic.Int32 // pieces of work
	failed failure
}

// piece is a piece of work: the pairs first <= i < last of images that are mixed with
// each other.
type piece struct {
	*slot
	first, last int
}

// NewTrainLoader returns a loader of training batches. An epoch visits the
// images in an order shuffled for it and drops the last, incomplete batch, as
// DeiT does; a batch larger than the set is an error.
//
// With repeated augmentation (Hoffer et al., CVPR 2020; DeiT's RASampler) each
// image comes Repeats times in a row, each time changed in another way, and the
// epoch ends after Augment.Visits: it sees a part of the images, another one in
// every epoch.
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

// NewEvalLoader returns a loader of all images of a set in their order, as they
// are, with one-hot targets. The last batch may be incomplete (Batch.Size).
// Every epoch is the same.
func NewEvalLoader(set *Set, opt Options) (*Loader, error) {
	if opt.Steps != 0 {
		return nil, fmt.Errorf("evaluation of %d steps was asked for: it always visits all images", opt.Steps)
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
		return nil, fmt.Errorf("this copy of %s has %v of the training images only: it serves the module that trains on that part", set.Name, set.Part)
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
		return nil, fmt.Errorf("images of size %d were asked for of %s, whose own differ from one another: want at least 1", opt.Size, set.Name)
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
	// Small enough that the workers end a batch at nearly the same time, large
	// enough that handing a piece out costs nothing beside it.
	l.pairs = max(1, pairs(opt.Batch, group)/(8*len(l.samplers)))
	for i := range l.samplers {
		l.samplers[i] = newSampler(set, &l.spec, t, policy)
	}
	for i := range l.slots {
		l.slots[i] = &slot{batch: newBatch(opt.Batch, group, &l.spec, opt.Raw)}
	}
	return l, nil
}

// check says whether the parts of a set fit each other.
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

// Steps is the number of batches of an epoch.
func (l *Loader) Steps() int { return l.steps }

// Epoch iterates over the batches of an epoch (counted from 0) beginning with
// the given step, 0 to Steps. A batch is valid until the next one is asked for.
// If the context is done, or the arguments are wrong, the last pair is a nil
// batch and the error. No goroutine is left when the loop ends, however it ends.
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

// iterate prepares each batch when it is asked for.
func (l *Loader) iterate(ctx context.Context, epoch, from int, yield func(*Batch, error) bool) {
	s := l.slots[0]
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		n := l.begin(s, epoch, step)
		l.prepare(piece{s, 0, n}, l.samplers[0])
		if err := s.failed.error(); err != nil {
			yield(nil, err)
			return
		}
		if !yield(&s.batch, nil) {
			return
		}
	}
}

// iterateAhead has workers prepare the batches that follow the one in use.
func (l *Loader) iterateAhead(ctx context.Context, epoch, from int, yield func(*Batch, error) bool) {
	// Work is handed out only once its slot is free, and there is room for the
	// work of all slots: sending never blocks.
	work := make(chan piece, len(l.slots)*(pairs(l.opt.Batch, l.group)/l.pairs+1))
	for _, s := range l.slots {
		s.ready = make(chan struct{}, 1)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(work)
	stop := make(chan struct{}) // work already handed out is not begun
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
				if p.undone.Add(-1) == 0 {
					p.ready <- struct{}{}
				}
			}
		})
	}
	handOut := func(step int) {
		s := l.slots[step%len(l.slots)]
		n := l.begin(s, epoch, step)
		s.undone.Store(int32((n + l.pairs - 1) / l.pairs))
		for first := 0; first < n; first += l.pairs {
			work <- piece{s, first, min(first+l.pairs, n)}
		}
	}

	for step := from; step < min(from+len(l.slots), l.steps); step++ {
		handOut(step)
	}
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		s := l.slots[step%len(l.slots)]
		<-s.ready // no select on ctx: a batch once begun is waited for anyway
		if err := s.failed.error(); err != nil {
			yield(nil, err)
			return
		}
		if !yield(&s.batch, nil) {
			return
		}
		if next := step + len(l.slots); next < l.steps {
			handOut(next)
		}
	}
}

// begin makes what the images of a batch have in common, and says how many
// pairs of images there are to prepare. Together with prepare it is a function
// of its arguments, the order of the epoch and what the loader was made with.
func (l *Loader) begin(s *slot, epoch, step int) int {
	s.failed.reset()
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

// mix draws how a group of a batch is mixed. The draw of the first group does not depend
// on whether there are others.
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

// prepare makes the images and targets of a piece.
func (l *Loader) prepare(p piece, s *sampler) {
	b := &p.batch
	for i := p.first; i < p.last; i++ {
		row, partner := pair(i, b.Size, l.group)
		made := l.row(p.slot, row, s)
		if partner != row {
			made = l.row(p.slot, partner, s) && made
		}
		if l.opt.Raw || !made {
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

// row makes one image of a batch, not mixed yet, and says whether it could.
func (l *Loader) row(to *slot, row int, s *sampler) bool {
	b, size := &to.batch, l.spec.pixels()
	v := l.visit(b.Step*l.opt.Batch + row)
	b.Samples[row], b.Labels[row] = v.image, l.set.Labels[v.image]
	pixels := s.pixels
	if l.opt.Raw {
		pixels = b.Pixels[row*size:][:size]
	}
	erase, err := s.sample(pixels, b.Epoch, v)
	if err != nil {
		to.failed.set(row, err)
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
	image int
	again int // how many visits of this epoch to the image came before
}

// visit is what the i-th place of the epoch holds.
func (l *Loader) visit(i int) visit {
	place := i / l.repeats
	pass := place / l.set.Len()
	return visit{image: l.order[place], again: pass*l.repeats + i%l.repeats}
}

func (l *Loader) smoothing() float64 {
	if l.training == nil {
		return 0
	}
	return l.training.Augment.Smoothing
}

// failure is the error of a batch: of its first image that has one, whichever
// worker comes to it first.
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

// error is to be asked for when no worker is at the batch any more.
func (f *failure) error() error { return f.err }
