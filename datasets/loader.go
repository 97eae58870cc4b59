package datasets

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"hatchery/engine/random"
)

// Options say how a loader works. Only Batch and Steps have a part in what it
// yields.
type Options struct {
	Batch int // images a batch

	// Steps is the number of batches of a training epoch; 0: as many as the
	// set has. A part of a set trains as long as the whole would with the
	// steps of the whole: an epoch then goes through the part again and again,
	// in another order each time.
	Steps int

	// Prefetch is how many batches are prepared or ready while the caller has
	// one in use. Each takes the memory of a batch. 0: a batch is prepared
	// when it is asked for, in the caller's goroutine.
	Prefetch int

	// Workers is how many goroutines prepare batches, one batch each; more
	// than Prefetch have nothing to do. 0: one.
	Workers int
}

// Training says how training batches are drawn.
type Training struct {
	Seed    uint64 // of the run
	Purpose string // what the batches are for; loaders of one seed and purpose yield the same
	Augment Augment
}

// Batch is a number of images ready for a network.
type Batch struct {
	Images  []float32 // Batch x Channels x Height x Width, normalised to mean 0 and deviation 1
	Targets []float32 // Batch x classes, each row a distribution
	Labels  []int32   // Batch; of the images before mixing
	Samples []int     // Batch; which images of the set these are

	// Size is the number of rows that hold an image. It is less than Batch only
	// in the last batch of an evaluation, where the other rows are zero in
	// Images and Targets and -1 in Labels and Samples, and so add nothing to a
	// sum of losses or hits.
	Size int

	Epoch, Step int // as given to Loader.Epoch; Step counts from 0
}

// Loader yields the batches of a set, epoch by epoch. Its buffers are its own
// and are used again and again, so only one iteration may run at a time.
type Loader struct {
	set      *Set
	opt      Options
	training *Training // nil: evaluation
	steps    int
	norm     normaliser

	// Streams of random numbers: the order of an epoch, the geometry of a
	// sample, the mixing of a batch.
	orderKey, sampleKey, mixKey string

	order   []int           // of the running epoch
	slots   []*slot         // step s is prepared in slot s mod len(slots)
	streams []random.Stream // one a worker
	busy    atomic.Bool
}

// slot is a batch in the making; ready gets a token once it is made.
type slot struct {
	batch Batch
	ready chan struct{}
}

// NewTrainLoader returns a loader of training batches. An epoch visits the
// images in an order shuffled for it and drops the last, incomplete batch, as
// DeiT does; a batch larger than the set is an error.
func NewTrainLoader(set *Set, opt Options, t Training) (*Loader, error) {
	l, err := newLoader(set, opt)
	if err != nil {
		return nil, err
	}
	if err := t.Augment.Check(&set.Spec); err != nil {
		return nil, fmt.Errorf("augmentation for %s: %w", set.Name, err)
	}
	if opt.Batch > set.Len() && opt.Steps == 0 {
		return nil, fmt.Errorf("batch size %d is larger than the %d training images of %s", opt.Batch, set.Len(), set.Name)
	}
	l.training = &t
	l.steps = set.Len() / opt.Batch
	if opt.Steps > 0 {
		l.steps = opt.Steps
		passes := (opt.Steps*opt.Batch + set.Len() - 1) / set.Len()
		l.order = make([]int, passes*set.Len())
	}
	l.orderKey, l.sampleKey, l.mixKey = t.Purpose+"/order", t.Purpose+"/sample", t.Purpose+"/mix"
	return l, nil
}

// NewEvalLoader returns a loader of all images of a set in their order, as they
// are, with one-hot targets. The last batch may be incomplete (Batch.Size).
// Every epoch is the same.
func NewEvalLoader(set *Set, opt Options) (*Loader, error) {
	if opt.Steps != 0 {
		return nil, fmt.Errorf("evaluation of %d steps was asked for: it always visits all images", opt.Steps)
	}
	l, err := newLoader(set, opt)
	if err != nil {
		return nil, err
	}
	l.steps = (set.Len() + opt.Batch - 1) / opt.Batch
	return l, nil
}

func newLoader(set *Set, opt Options) (*Loader, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	if opt.Batch < 1 {
		return nil, fmt.Errorf("batch size is %d, want at least 1", opt.Batch)
	}
	if opt.Prefetch < 0 || opt.Workers < 0 || opt.Steps < 0 {
		return nil, fmt.Errorf("loader with prefetch %d, %d workers and %d steps, want at least 0", opt.Prefetch, opt.Workers, opt.Steps)
	}
	l := &Loader{
		set:     set,
		opt:     opt,
		norm:    newNormaliser(&set.Spec),
		order:   make([]int, set.Len()),
		slots:   make([]*slot, opt.Prefetch+1),
		streams: make([]random.Stream, max(1, min(opt.Workers, opt.Prefetch))),
	}
	for i := range l.slots {
		l.slots[i] = &slot{
			batch: Batch{
				Images:  make([]float32, opt.Batch*set.pixels()),
				Targets: make([]float32, opt.Batch*len(set.Classes)),
				Labels:  make([]int32, opt.Batch),
				Samples: make([]int, opt.Batch),
			},
		}
	}
	return l, nil
}

// check says whether the parts of a set fit each other.
func (s *Set) check() error {
	switch {
	case s.Len() == 0 || len(s.Classes) == 0 || s.pixels() <= 0:
		return fmt.Errorf("data set %s: no images, no classes or no pixels", s.Name)
	case len(s.Images) != s.Len()*s.pixels():
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
	b := &l.slots[0].batch
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		l.prepare(b, &l.streams[0], epoch, step)
		if !yield(b, nil) {
			return
		}
	}
}

// iterateAhead has workers prepare the batches that follow the one in use.
func (l *Loader) iterateAhead(ctx context.Context, epoch, from int, yield func(*Batch, error) bool) {
	// A step is handed out only once its slot is free, and there are as many
	// steps handed out as slots: sending never blocks.
	work := make(chan int, len(l.slots))
	for _, s := range l.slots {
		s.ready = make(chan struct{}, 1)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(work)
	stop := make(chan struct{}) // work already handed out is not begun
	defer close(stop)
	for i := range l.streams {
		workers.Go(func() {
			for step := range work {
				select {
				case <-stop:
					return
				default:
				}
				s := l.slots[step%len(l.slots)]
				l.prepare(&s.batch, &l.streams[i], epoch, step)
				s.ready <- struct{}{}
			}
		})
	}

	for step := from; step < min(from+len(l.slots), l.steps); step++ {
		work <- step
	}
	for step := from; step < l.steps; step++ {
		if err := context.Cause(ctx); err != nil {
			yield(nil, err)
			return
		}
		s := l.slots[step%len(l.slots)]
		<-s.ready // no select on ctx: a batch once begun is waited for anyway
		if !yield(&s.batch, nil) {
			return
		}
		if next := step + len(l.slots); next < l.steps {
			work <- next
		}
	}
}

// prepare makes the batch of one step: a function of its arguments, the order of
// the epoch and what the loader was made with.
func (l *Loader) prepare(b *Batch, s *random.Stream, epoch, step int) {
	spec, size, classes := &l.set.Spec, l.set.pixels(), len(l.set.Classes)
	samples := l.order[step*l.opt.Batch:]
	samples = samples[:min(len(samples), l.opt.Batch)]
	b.Epoch, b.Step, b.Size = epoch, step, len(samples)

	var g geometry
	for row, i := range samples {
		if l.training != nil {
			if pass := (step*l.opt.Batch + row) / l.set.Len(); pass == 0 {
				s.Reset(l.training.Seed, l.sampleKey, uint64(epoch), uint64(i))
			} else { // again in this epoch: another draw
				s.Reset(l.training.Seed, l.sampleKey, uint64(epoch), uint64(i), uint64(pass))
			}
			g = l.training.Augment.drawGeometry(s)
		}
		l.norm.apply(b.Images[row*size:][:size], l.set.Image(i), spec, g)
		b.Labels[row] = l.set.Labels[i]
		b.Samples[row] = i
	}
	for row := b.Size; row < l.opt.Batch; row++ {
		clear(b.Images[row*size:][:size])
		clear(b.Targets[row*classes:][:classes])
		b.Labels[row], b.Samples[row] = -1, -1
	}

	m, smoothing := mixing{lambda: 1}, 0.0
	if l.training != nil {
		s.Reset(l.training.Seed, l.mixKey, uint64(epoch), uint64(step))
		m = l.training.Augment.drawMixing(s, spec)
		smoothing = l.training.Augment.Smoothing
	}
	m.mixImages(b.Images, b.Size, spec)
	mixTargets(b.Targets, b.Labels[:b.Size], classes, m.lambda, smoothing)
}
