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

// Roof is the measured maximum speed of a device.
type Roof struct {
	Copy    float64 // bytes per second, read and written, of a copy in its memory
	Product float64 // floating-point operations per second of a bfloat16 product of random square matrices
}

// MeasureRoof measures a copy of the given number of bytes, which should be much larger
// than the L2 cache, and a product of [n, n] matrices. Each is the mean of ten after two to
// warm up. Nothing else should use the device.
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

// Profiler is a trainer that can measure the parts of a step. Its methods make steps with
// the batch that is on the device.
type Profiler interface {
	backend.Trainer

	// Replay makes n steps without work of the host between them. It returns the time
	// of a step on the device, and the host's median time to launch it (launches wait
	// while the device's queue is full).
	Replay(n int) (device, host time.Duration, err error)

	// Profile makes n steps, command by command, and returns the mean time of each
	// operation, in the order of a step. Their sum is more than the time of a step, in
	// which commands overlap. There must be exactly one learner.
	Profile(n int) ([]Timing, error)

	// Choices times n runs of each algorithm that cublasLt lists for each product of a
	// step. There must be exactly one learner.
	Choices(n int) ([]Choice, error)
}

// Choice holds the times of cublasLt's algorithms for a product, in the order of its
// heuristic.
type Choice struct {
	Product string
	Count   int // number of such products in a step
	Chosen  int // the index of the algorithm that a step uses
	Times   []time.Duration
}

// Timing is the time of an operation, over all passes of a step.
type Timing struct {
	Name   string // of the operation: "attention", or "optimizer"
	Kernel string // the first kernel, or the product
	Bytes  int64  // the least that it can read and write
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
			start := time.Now()
			err := t.executor.run()
			launches = append(launches, time.Since(start))
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
		return nil, errors.New("cuda: cannot profile several learners, which run at the same time")
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
		return nil, errors.New("cuda: cannot time the products of several learners, which run at the same time")
	}
	if err := t.wait(); err != nil {
		return nil, err
	}
	var all []Choice
	index := map[blas.Gemm]int{} // in all
	err := t.gpu.Do(func(c *driver.Context) error {
		for _, w := range t.executor.work {
			if w.product == nil {
				continue
			}
			if i, ok := index[w.product.Gemm]; ok {
				all[i].Count++
				continue
			}
			algorithms, err := t.executor.handles[0].Algorithms(w.product.Gemm)
			if errors.Is(err, blas.ErrUnsupported) { // cuBLAS computes it
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
			index[w.product.Gemm] = len(all)
			all = append(all, x)
		}
		return nil
	})
	return all, err
}

// timings returns the times of operations, given those of commands.
func (t *trainer) timings(times []time.Duration) []Timing {
	var all []Timing
	index := map[any]int{} // in all, by operation
	for i, c := range t.prepared.program.Commands {
		if c.Launch == nil && c.Product == nil {
			continue
		}
		k, found := index[c.Operation]
		if !found {
			k = len(all)
			index[c.Operation] = k
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
		all[k].Time += times[i]
	}
	return all
}

// optimizerBytes returns the bytes that AdamW reads and writes: it reads and writes the
// weight and two moments, reads the gradient twice (for the norm and for the step) and
// writes the weight's copy.
func (t *trainer) optimizerBytes() int64 {
	each := int64(3*8 + 2*4)
	if t.gpu.dtype == kernels.BF16 {
		each += 2
	}
	return each * int64(t.prepared.params.Trained)
}
