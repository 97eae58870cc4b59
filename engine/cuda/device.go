//go:build gpu

package cuda

import (
	"fmt"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
)

// gpu is one device with the kernels on it.
type gpu struct {
	*driver.Device
	module    *driver.Module
	functions map[string]*function
	queue     *driver.Stream // for copies that are waited for
	dtype     kernels.DType
}

// openGPU opens a device and compiles the kernels for it.
func openGPU(ordinal int, t kernels.DType) (*gpu, error) {
	d, err := driver.Open(ordinal)
	if err != nil {
		return nil, err
	}
	g := &gpu{Device: d, functions: map[string]*function{}, dtype: t}
	err = d.Do(func(c *driver.Context) (err error) {
		if g.module, err = c.Module(kernels.PTX); err != nil {
			return err
		}
		g.queue, err = c.Stream()
		return err
	})
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *gpu) close() {
	g.Do(func(c *driver.Context) error {
		if g.queue != nil {
			g.queue.Destroy()
		}
		if g.module != nil {
			g.module.Unload()
		}
		return nil
	})
	g.Close()
}

// title is how messages call a device.
func title(i driver.Info) string { return fmt.Sprintf("cuda:%d %s", i.Ordinal, i.Name) }

func (g *gpu) name() string { return title(g.Info) }

// function is a kernel, and how much dynamic shared memory it may have.
type function struct {
	driver.Function
	shared uint32
}

// function finds a kernel by its name, for launches with so many bytes of
// dynamic shared memory.
func (g *gpu) function(name string, shared uint32) (driver.Function, error) {
	f := g.functions[name]
	if f == nil {
		const unasked = 48 << 10 // that every kernel may have
		found, err := g.module.Function(name)
		if err != nil {
			return found, err
		}
		f = &function{found, unasked}
		g.functions[name] = f
	}
	if shared > f.shared {
		if err := f.SetSharedLimit(int(shared)); err != nil {
			return f.Function, fmt.Errorf("kernel %s with %d bytes of shared memory: %w", name, shared, err)
		}
		f.shared = shared
	}
	return f.Function, nil
}

// store is allocations that belong together.
type store struct {
	regions [lower.Outside]driver.Ptr // by the ID of a kernels.Buffer
	own     []driver.Ptr
	pinned  []driver.Pinned
}

// alloc allocates memory that holds zeros.
func (s *store) alloc(c *driver.Context, queue *driver.Stream, bytes int64) (driver.Ptr, error) {
	p, err := c.Alloc(max(bytes, 1))
	if err != nil {
		return 0, err
	}
	s.own = append(s.own, p)
	return p, queue.Zero(p, max(bytes, 1))
}

// host allocates pinned memory.
func (s *store) host(c *driver.Context, bytes int64) (driver.Pinned, error) {
	p, err := c.Pinned(int(max(bytes, 1)))
	if err == nil {
		s.pinned = append(s.pinned, p)
	}
	return p, err
}

// free gives everything back.
func (s *store) free(c *driver.Context) {
	for _, p := range s.own {
		c.Free(p)
	}
	for _, p := range s.pinned {
		c.FreePinned(p)
	}
	s.own, s.pinned = nil, nil
}

// at is the address of a buffer.
func (s *store) at(b kernels.Buffer) driver.Ptr {
	if b.IsNull() {
		return 0
	}
	return s.regions[b.ID] + driver.Ptr(b.Offset)
}

// executor is a program on a device: what to launch, with addresses.
type executor struct {
	program *lower.Program
	streams []*driver.Stream
	handles []*blas.Handle
	events  []*driver.Event // number 1 is the first
	work    []command
	graph   *driver.GraphExec // of work, once it was captured
}

// command is a lower.Command with addresses.
type command struct {
	stream *driver.Stream

	launch      bool
	function    driver.Function
	grid, block [3]uint32
	shared      uint32
	args        []uint64

	product        *blas.Plan
	a, b, d, bi, x driver.Ptr

	record, wait *driver.Event
}

// supports asks cuBLAS on a device which products it has. Not all epilogues
// exist for all shapes, and those that sum perhaps only for kernels that leave
// most of the card idle: the gradient of a small weight is itself a sum over all
// tokens, which takes many blocks that share it (split-K). So a product that
// sums has to fill the card at least half as well as the one that does not.
func (g *gpu) supports() (can func(blas.Gemm) bool, done func(), err error) {
	var h *blas.Handle
	err = g.Do(func(c *driver.Context) (err error) {
		h, err = blas.New(c, g.queue)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	known := map[blas.Gemm]bool{}
	can = func(m blas.Gemm) bool {
		ok, asked := known[m]
		if !asked {
			ok = g.Do(func(*driver.Context) error {
				p, err := h.Plan(m)
				if err != nil || m.Epilogue != blas.SumA && m.Epilogue != blas.SumB {
					return err
				}
				plain := m
				plain.Epilogue = blas.None
				q, err := h.Plan(plain)
				if err == nil && p.Waves() < min(q.Waves(), 1)/2 {
					err = blas.ErrUnsupported
				}
				return err
			}) == nil
			known[m] = ok
		}
		return ok
	}
	return can, func() { g.Do(func(*driver.Context) error { return h.Destroy() }) }, nil
}

// newExecutor makes a program ready to run on the memory of s.
func (g *gpu) newExecutor(c *driver.Context, p *lower.Program, s *store) (*executor, error) {
	e := &executor{program: p}
	err := e.prepare(c, g, s)
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *executor) prepare(c *driver.Context, g *gpu, s *store) error {
	p := e.program
	for range p.Streams {
		stream, err := c.Stream()
		if err != nil {
			return err
		}
		e.streams = append(e.streams, stream)
		h, err := blas.New(c, stream)
		if err != nil {
			return err
		}
		e.handles = append(e.handles, h)
	}
	e.events = make([]*driver.Event, p.Events+1)
	for i := range e.events[1:] {
		event, err := c.Event(false)
		if err != nil {
			return err
		}
		e.events[1+i] = event
	}
	type product struct {
		stream int
		gemm   blas.Gemm
	}
	plans := map[product]*blas.Plan{}
	for _, from := range p.Commands {
		to := command{stream: e.streams[from.Stream]}
		switch {
		case from.Launch != nil:
			l := from.Launch
			f, err := g.function(l.Kernel, l.Shared)
			if err != nil {
				return err
			}
			to.launch, to.function, to.grid, to.block, to.shared = true, f, l.Grid, l.Block, l.Shared
			for _, a := range l.Args {
				v := a.Bits
				if a.Kind == kernels.Pointer {
					v = uint64(s.at(a.Buffer))
				}
				to.args = append(to.args, v)
			}
		case from.Product != nil:
			m := from.Product
			key := product{from.Stream, m.Gemm}
			if plans[key] == nil {
				plan, err := e.handles[from.Stream].Plan(m.Gemm)
				if err != nil {
					return err
				}
				plans[key] = plan
			}
			to.product = plans[key]
			to.a, to.b, to.d, to.bi, to.x = s.at(m.In[0]), s.at(m.In[1]), s.at(m.Out), s.at(m.Bias), s.at(m.Aux)
		case from.Record > 0:
			to.record = e.events[from.Record]
		case from.Wait > 0:
			to.wait = e.events[from.Wait]
		}
		e.work = append(e.work, to)
	}
	return nil
}

// close gives back what the executor made; its memory is the store's.
func (e *executor) close() {
	if e.graph != nil {
		e.graph.Destroy()
	}
	for _, h := range e.handles {
		h.Destroy()
	}
	for _, event := range e.events {
		if event != nil {
			event.Destroy()
		}
	}
	for _, s := range e.streams {
		s.Destroy()
	}
}

// submit puts all work into the streams, one launch after another.
func (e *executor) submit() error {
	for i := range e.work {
		if err := e.work[i].submit(); err != nil {
			return fmt.Errorf("command %d of %d: %w", i, len(e.work), err)
		}
	}
	return nil
}

// submit puts one command into its stream.
func (w *command) submit() error {
	switch {
	case w.launch:
		return w.stream.Launch(w.function, w.grid, w.block, w.shared, w.args)
	case w.product != nil:
		return w.product.Run(w.a, w.b, w.d, w.bi, w.x)
	case w.record != nil:
		return w.stream.Record(w.record)
	}
	return w.stream.Wait(w.wait)
}

// capture records the work as a graph, which run then launches at once.
func (e *executor) capture() error {
	main := e.streams[0]
	if err := main.BeginCapture(); err != nil {
		return err
	}
	err := e.submit()
	captured, ended := main.EndCapture()
	if err != nil {
		return err
	}
	if ended != nil {
		return ended
	}
	defer captured.Destroy()
	if e.graph, err = captured.Instantiate(); err != nil {
		return err
	}
	return e.graph.Upload(main)
}

// run puts the work into the streams, after what is in stream 0, which it ends
// in.
func (e *executor) run() error {
	if e.graph == nil {
		return e.submit()
	}
	return e.graph.Launch(e.streams[0])
}
