package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool shares work out over cores. Its goroutines live until Close.
//
// A piece of work is cut into tasks by its shape alone, never by the number of
// threads, so that a result does not depend on it.
type Pool struct {
	threads int
	wake    []chan struct{} // one for each goroutine: all workers but worker 0
	done    sync.WaitGroup  // goroutines still at the current work
	exit    sync.WaitGroup

	task  func(worker, task int)
	tasks int64
	next  atomic.Int64

	each     func(task int)
	callEach func(worker, task int) // made once, because making it allocates
}

// NewPool returns a pool of that many threads, the caller's among them; 0 is
// one for each core that Go may use.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads}
	p.callEach = func(_, task int) { p.each(task) }
	for w := 1; w < threads; w++ {
		wake := make(chan struct{}, 1)
		p.wake = append(p.wake, wake)
		p.exit.Go(func() {
			for range wake {
				p.work(w)
				p.done.Done()
			}
		})
	}
	return p
}

// Workers is the number of threads; worker indices are below it.
func (p *Pool) Workers() int { return p.threads }

// Close ends the goroutines of the pool and waits for them.
func (p *Pool) Close() {
	for _, wake := range p.wake {
		close(wake)
	}
	p.exit.Wait()
	p.wake = nil
}

// Run calls f(worker, task) once for every task below tasks and returns when
// all are done. Calls with the same worker never overlap. One Run at a time.
func (p *Pool) Run(tasks int, f func(worker, task int)) {
	if tasks <= 1 || p.threads == 1 {
		for i := range tasks {
			f(0, i)
		}
		return
	}
	p.task, p.tasks = f, int64(tasks)
	p.next.Store(0)
	helpers := min(tasks-1, len(p.wake))
	p.done.Add(helpers)
	for _, wake := range p.wake[:helpers] {
		wake <- struct{}{}
	}
	p.work(0)
	p.done.Wait()
	p.task = nil
}

func (p *Pool) work(worker int) {
	for i := p.next.Add(1) - 1; i < p.tasks; i = p.next.Add(1) - 1 {
		p.task(worker, int(i))
	}
}

// Each is Run for work that has no use for the worker's index.
func (p *Pool) Each(tasks int, f func(task int)) {
	p.each = f
	p.Run(tasks, p.callEach)
	p.each = nil
}
