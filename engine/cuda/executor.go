//go:build gpu

package cuda

import (
	"fmt"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
)

// executor runs a program on a device: it holds the program's commands with addresses.
type executor struct {
	program *lower.Program
	streams []*driver.Stream
	handles []*blas.Handle
	events  []*driver.Event // events[0] is unused: numbers start at 1
	work    []command
	graph   *driver.GraphExec // of work, after capture
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

// newExecutor prepares a program to run in the memory of s. Products without an entry in
// algorithms use cublasLt's first algorithm.
func (g *gpu) newExecutor(c *driver.Context, p *lower.Program, s *store, algorithms map[blas.Gemm]blas.Algorithm) (*executor, error) {
	e := &executor{program: p}
	err := e.prepare(c, g, s, algorithms)
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *executor) prepare(c *driver.Context, g *gpu, s *store, algorithms map[blas.Gemm]blas.Algorithm) error {
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
			var err error
			if to, err = g.launch(to.stream, *from.Launch, s); err != nil {
				return err
			}
		case from.Product != nil:
			m := from.Product
			key := product{from.Stream, m.Gemm}
			if plans[key] == nil {
				plan, err := e.handles[from.Stream].PlanWith(m.Gemm, algorithms[m.Gemm])
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

// launch returns the command that launches a kernel in a stream, with the addresses of s.
func (g *gpu) launch(stream *driver.Stream, l kernels.Launch, s *store) (command, error) {
	f, err := g.function(l.Kernel, l.Shared)
	if err != nil {
		return command{}, err
	}
	to := command{stream: stream, launch: true, function: f, grid: l.Grid, block: l.Block, shared: l.Shared}
	for _, a := range l.Args {
		v := a.Bits
		if a.Kind == kernels.Pointer {
			v = uint64(s.at(a.Buffer))
		}
		to.args = append(to.args, v)
	}
	return to, nil
}

// close releases everything except the memory, which belongs to the store.
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

// submit puts all work into the streams, command by command.
func (e *executor) submit() error {
	for i := range e.work {
		if err := e.work[i].submit(); err != nil {
			return fmt.Errorf("%s: %w", e.describe(i), err)
		}
	}
	return nil
}

// rehearse runs all work once, and waits after each command. So everything that a first
// launch prepares, such as cublasLt's kernels, exists before the capture, as older drivers
// require. Also, the error of a faulty kernel names it, which is not the case in a graph.
// The caller must overwrite the results.
func (e *executor) rehearse() error {
	for i := range e.work {
		err := e.work[i].submit()
		if err == nil {
			err = e.work[i].stream.Synchronize()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.describe(i), err)
		}
	}
	return nil
}

// describe names a command for messages.
func (e *executor) describe(i int) string {
	c := e.program.Commands[i]
	operation := "the work after a pass"
	if c.Operation != nil {
		operation = c.Operation.Name
	}
	switch {
	case c.Launch != nil:
		return fmt.Sprintf("%s (kernel %s)", operation, c.Launch.Kernel)
	case c.Product != nil:
		return fmt.Sprintf("%s (product %v)", operation, c.Product.Gemm)
	}
	return fmt.Sprintf("command %d of %d, which synchronises streams", i, len(e.work))
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

// capture records the work as a graph, which run then launches as a whole.
func (e *executor) capture() error {
	main := e.streams[0]
	if err := main.BeginCapture(); err != nil {
		return err
	}
	err := e.submit()
	captured, endErr := main.EndCapture()
	if err != nil {
		return err
	}
	if endErr != nil {
		return endErr
	}
	defer captured.Destroy()
	if e.graph, err = captured.Instantiate(); err != nil {
		return err
	}
	return e.graph.Upload(main)
}

// run puts the work into the streams. It starts after the work in stream 0, and stream 0
// then waits for all of it.
func (e *executor) run() error {
	if e.graph == nil {
		return e.submit()
	}
	return e.graph.Launch(e.streams[0])
}
