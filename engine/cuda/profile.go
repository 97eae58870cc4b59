//go:build gpu

package cuda

import (
	"errors"
	"slices"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
)

// Roof is what a device does at most, as measured.
type Roof struct {
	Copy    float64 // bytes a second, read and written, of a copy in its memory
	Product float64 // floating-point operations a second of a bfloat16 product of random square matrices
}

// MeasureRoof measures a device that nobody else uses: a copy of so many bytes,
// which should be far beyond its L2 cache, and a product of [n, n] matrices;
// each the mean of ten, after two that do not count.
func MeasureRoof(ordinal int, bytes int64, n int) (r Roof, err error) {
	d, err := driver.Open(ordinal)
	if err != nil {
		return r, err
	}
	defer d.Close()
	err = d.Do(func(c *driver.Context) error {
		queue, err := c.Stream()
		if err != nil {
			return err
		}
		defer queue.Destroy()
		var s store
		defer s.free(c)
		from, err := s.alloc(c, queue, bytes)
		if err != nil {
			return err
		}
		to, err := s.alloc(c, queue, bytes)
		if err != nil {
			return err
		}
		const counted = 10
		took, err := timed(c, queue, counted, func() error { return queue.CopyOnDevice(to, from, bytes) })
		if err != nil {
			return err
		}
		r.Copy = 2 * float64(bytes) / took.Seconds()

		var matrices [3]driver.Ptr
		for i := range matrices {
			if matrices[i], err = s.alloc(c, queue, int64(2*n*n)); err != nil {
				return err
			}
			if err := noise(queue, matrices[i], int64(2*n*n)); err != nil {
				return err
			}
		}
		h, err := blas.New(c, queue)
		if err != nil {
			return err
		}
		defer h.Destroy()
		g := blas.Gemm{M: n, N: n, K: n, A: kernels.BF16, B: kernels.BF16, D: kernels.BF16}
		plan, err := h.Plan(g)
		if err != nil {
			return err
		}
		took, err = timed(c, queue, counted, func() error { return plan.Run(matrices[0], matrices[1], matrices[2], 0, 0) })
		r.Product = g.FLOPs() / took.Seconds()
		return err
	})
	return r, err
}

// timed returns the mean time on the device of n calls of f, after two to warm up.
func timed(c *driver.Context, s *driver.Stream, n int, f func() error) (time.Duration, error) {
	const warm = 2
	var ends [2]*driver.Event
	for i := range ends {
		e, err := c.Event(true)
		if err != nil {
			return 0, err
		}
		defer e.Destroy()
		ends[i] = e
	}
	for i := range warm + n {
		if i == warm {
			if err := s.Record(ends[0]); err != nil {
				return 0, err
			}
		}
		if err := f(); err != nil {
			return 0, err
		}
	}
	if err := s.Record(ends[1]); err != nil {
		return 0, err
	}
	if err := ends[1].Synchronize(); err != nil {
		return 0, err
	}
	took, err := ends[1].Elapsed(ends[0])
	return max(took/time.Duration(n), 1), err
}

// Profiler is a trainer that can say where the time of a step goes. Its methods
// make steps with the batch that is on the device: they are for measuring.
type Profiler interface {
	backend.Trainer

	// Replay makes n steps without any work of the host between them: the time
	// of one on the device, and of the host to launch it (the median: launches
	// wait while the device's queue is full).
	Replay(n int) (device, host time.Duration, err error)

	// Profile makes n steps one piece of work at a time and returns the mean
	// time of each operation, in the order of a step. Together they take longer
	// than a step, in which one piece begins while the one before it ends.
	// There must be one learner.
	Profile(n int) ([]Timing, error)

	// Choices times n runs of each algorithm that cublasLt names for each of a
	// step's products. There must be one learner.
	Choices(n int) ([]Choice, error)
}

// Choice is what cublasLt's algorithms for a product take, in the order of its
// heuristic, and which of them, from 0, a step takes.
type Choice struct {
	Product string
	Count   int // in a step
	Chosen  int
	Times   []time.Duration
}

// Timing is what an operation took, over all passes of a step.
type Timing struct {
	Name   string // of the operation: "attention", or "optimizer"
	Kernel string // the first kernel, or the product
	Bytes  int64  // that it has to read and write
	FLOPs  int64  // of its matrix products
	Time   time.Duration
}

// Replay implements Profiler.
func (t *trainer) Replay(n int) (device, host time.Duration, err error) {
	if err := t.wait(); err != nil {
		return 0, 0, err
	}
	var launches []time.Duration
	err = t.gpu.Do(func(c *driver.Context) (err error) {
		device, err = timed(c, t.executor.streams[0], n, func() error {
			began := time.Now()
			err := t.executor.run()
			launches = append(launches, time.Since(began))
			return err
		})
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	slices.Sort(launches)
	return device, launches[len(launches)/2], nil
}

// Profile implements Profiler.
func (t *trainer) Profile(n int) ([]Timing, error) {
	if t.prepared.program.Streams > 1 {
		return nil, errors.New("cuda: a profile is of one learner: those of several run at the same time")
	}
	if err := t.wait(); err != nil {
		return nil, err
	}
	var all []Timing
	err := t.gpu.Do(func(c *driver.Context) error {
		work := t.executor.work
		events := make([]*driver.Event, len(work)+1)
		defer func() {
			for _, e := range events {
				if e != nil {
					e.Destroy()
				}
			}
		}()
		for i := range events {
			e, err := c.Event(true)
			if err != nil {
				return err
			}
			events[i] = e
		}
		times := make([]time.Duration, len(work))
		main := t.executor.streams[0]
		for range n {
			if err := main.Record(events[0]); err != nil {
				return err
			}
			for i := range work {
				if err := work[i].submit(); err != nil {
					return err
				}
				if err := main.Record(events[i+1]); err != nil {
					return err
				}
			}
			if err := main.Synchronize(); err != nil {
				return err
			}
			for i := range times {
				took, err := events[i+1].Elapsed(events[i])
				if err != nil {
					return err
				}
				times[i] += took / time.Duration(n)
			}
		}
		all = t.timings(times)
		return nil
	})
	return all, err
}

// Choices implements Profiler.
func (t *trainer) Choices(n int) ([]Choice, error) {
	if t.prepared.program.Streams > 1 {
		return nil, errors.New("cuda: products are timed of one learner: those of several run at the same time")
	}
	if err := t.wait(); err != nil {
		return nil, err
	}
	var all []Choice
	place := map[blas.Gemm]int{}
	err := t.gpu.Do(func(c *driver.Context) error {
		for _, w := range t.executor.work {
			if w.product == nil {
				continue
			}
			if at, ok := place[w.product.Gemm]; ok {
				all[at].Count++
				continue
			}
			algorithms, err := t.executor.handles[0].Algorithms(w.product.Gemm)
			if errors.Is(err, blas.ErrUnsupported) { // left to cuBLAS
				continue
			}
			if err != nil {
				return err
			}
			x := Choice{Product: w.product.Gemm.String(), Count: 1, Chosen: max(0, slices.Index(algorithms, w.product.Algorithm()))}
			for _, a := range algorithms {
				p, err := t.executor.handles[0].PlanWith(w.product.Gemm, a)
				if err != nil {
					return err
				}
				took, err := timed(c, w.stream, n, func() error { return p.Run(w.a, w.b, w.d, w.bi, w.x) })
				if err != nil {
					return err
				}
				x.Times = append(x.Times, took)
			}
			place[w.product.Gemm] = len(all)
			all = append(all, x)
		}
		return nil
	})
	return all, err
}

// timings adds up the times of commands by their operations.
func (t *trainer) timings(times []time.Duration) []Timing {
	var all []Timing
	place := map[any]int{} // in all, by operation
	for i, c := range t.prepared.program.Commands {
		if c.Launch == nil && c.Product == nil {
			continue
		}
		at, found := place[c.Operation]
		if !found {
			at = len(all)
			place[c.Operation] = at
			x := Timing{Name: "optimizer"}
			if o := c.Operation; o != nil {
				passes := int64(t.job.Recipe.Batch / t.prepared.micro)
				x.Name, x.Bytes, x.FLOPs = o.Name, passes*o.Bytes(), passes*o.FLOPs()
			} else {
				x.Bytes = t.optimizerBytes()
			}
			if c.Launch != nil {
				x.Kernel = c.Launch.Kernel
			} else {
				x.Kernel = c.Product.Gemm.String()
			}
			all = append(all, x)
		}
		all[at].Time += times[i]
	}
	return all
}

// optimizerBytes is what AdamW has to read and write: weight and two moments
// both, the gradient for the norm and again for the step, and the weight's copy.
func (t *trainer) optimizerBytes() int64 {
	each := int64(3*8 + 2*4)
	if t.gpu.dtype == kernels.BF16 {
		each += 2
	}
	return each * int64(t.prepared.params.Trained)
}
