package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool distributes work over cores. Its goroutines live until Close.
//
// Callers must divide work into tasks by its shape alone, not by the number of threads, so
// that results do not depend on that number.
//
// A training step consists of hundreds of short pieces of work, and waking a sleeping core
// takes about as long as the shortest of them. So both workers waiting for work and Run
// waiting for workers spin for a moment before they sleep, and Run waits only for workers
// that joined before all tasks were handed out.
type Pool struct {
	workers []worker // all except worker 0, which is the caller of Run
	spins   int      // polls before sleeping
	exit    sync.WaitGroup
	closed  atomic.Bool

	// The current round of work.
	round  atomic.Uint64 // see roundShift
	task   func(worker, task int)
	tasks  int64
	next   atomic.Int64 // the next task to hand out
	caller sleeper      // the goroutine in Run

	each     func(task int)
	callEach func(worker, task int) // a closure made once, because making it allocates
}

// Pool.round holds the number of the round in its upper half. Below it are a bit that is
// set when workers may no longer join the round, and the number of workers that have
// joined but not left.
const (
	roundShift  = 32
	closedBit   = 1 << 31
	workersMask = closedBit - 1
)

type worker struct {
	sleeper
	_ [64]byte // keeps workers on different cache lines
}

// sleeper is a goroutine that may sleep until it is woken.
type sleeper struct {
	asleep atomic.Bool
	signal chan struct{}
}

// sleep returns when ready reports true. A late call of wake, meant for an earlier sleep,
// does no harm.
func (s *sleeper) sleep(ready func() bool) {
	for !ready() {
		s.asleep.Store(true)
		// It may have become ready before asleep was set. If wake was faster and has
		// reset asleep, take its signal from the channel.
		if ready() && s.asleep.CompareAndSwap(true, false) {
			return
		}
		<-s.signal
	}
}

func (s *sleeper) wake() {
	if s.asleep.CompareAndSwap(true, false) {
		s.signal <- struct{}{}
	}
}

// spins is the number of polls in about 50 microseconds.
const spins = 40_000

// NewPool returns a pool of the given number of threads, including the caller's; 0 means
// one for each core that Go may use.
func NewPool(threads int) *Pool {
	cores := runtime.GOMAXPROCS(0)
	if threads <= 0 {
		threads = cores
	}
	p := &Pool{workers: make([]worker, threads-1)}
	if threads <= cores { // otherwise spinning would keep other threads from working
		p.spins = spins
	}
	p.caller.signal = make(chan struct{}, 1)
	p.callEach = func(_, task int) { p.each(task) }
	for i := range p.workers {
		p.workers[i].signal = make(chan struct{}, 1)
		p.exit.Go(func() { p.serve(i + 1) })
	}
	return p
}

// serve is a worker: it joins every round that is still open, until the pool is closed.
func (p *Pool) serve(index int) {
	w := &p.workers[index-1]
	last := uint64(0) // the last round that it joined
	open := func() bool {
		r := p.round.Load()
		return r>>roundShift != last && r&closedBit == 0
	}
	for {
		if !p.spin(open) {
			w.sleep(open)
		}
		r := p.round.Load()
		if r>>roundShift == last || r&closedBit != 0 || !p.round.CompareAndSwap(r, r+1) {
			continue
		}
		last = r >> roundShift
		p.work(index)
		if r := p.round.Add(^uint64(0)); r&closedBit != 0 && r&workersMask == 0 {
			p.caller.wake()
		}
		if p.closed.Load() {
			return
		}
	}
}

// spin polls for a moment and reports whether ready became true.
func (p *Pool) spin(ready func() bool) bool {
	for range p.spins {
		if ready() {
			return true
		}
	}
	return false
}

// Workers returns the number of threads. Worker indices are less than it.
func (p *Pool) Workers() int { return len(p.workers) + 1 }

// Close ends the goroutines of the pool and waits until they have ended.
func (p *Pool) Close() {
	p.closed.Store(true)
	p.tasks = 0
	p.begin() // every worker joins this round and then sees that the pool is closed
	p.exit.Wait()
}

// begin opens a new round.
func (p *Pool) begin() {
	p.round.Store((p.round.Load()>>roundShift + 1) << roundShift)
	for i := range p.workers {
		p.workers[i].wake()
	}
}

// end closes the round and waits for the workers that joined it.
func (p *Pool) end() {
	p.round.Or(closedBit)
	if idle := p.idle; !p.spin(idle) {
		p.caller.sleep(idle)
	}
}

// idle reports whether no worker is in the round.
func (p *Pool) idle() bool { return p.round.Load()&workersMask == 0 }

// Run calls f(worker, task) once for every 0 <= task < tasks and returns when all calls
// have returned. Calls with the same worker do not overlap. Run must not be called again
// before it returns.
func (p *Pool) Run(tasks int, f func(worker, task int)) {
	if tasks <= 1 || len(p.workers) == 0 {
		for i := range tasks {
			f(0, i)
		}
		return
	}
	p.task, p.tasks = f, int64(tasks)
	p.next.Store(0)
	p.begin()
	p.work(0)
	p.end()
	p.task = nil
}

func (p *Pool) work(worker int) {
	for i := p.next.Add(1) - 1; i < p.tasks; i = p.next.Add(1) - 1 {
		p.task(worker, int(i))
	}
}

// Each is like Run, for functions that do not need the worker's index.
func (p *Pool) Each(tasks int, f func(task int)) {
	p.each = f
	p.Run(tasks, p.callEach)
	p.each = nil
}
