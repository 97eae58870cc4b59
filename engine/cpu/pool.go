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
//
// A training step is hundreds of short pieces of work, and to wake a sleeping
// core takes about as long as the shortest of them. So whoever waits, a worker
// for work or Run for the workers, looks again and again for a moment before it
// sleeps; and Run waits only for workers that came before its work was done.
type Pool struct {
	workers []worker // all but worker 0, which is the caller of Run
	spins   int      // looks before sleeping
	exit    sync.WaitGroup
	closed  atomic.Bool

	// The work of the present round.
	round  atomic.Uint64 // its number, whether it is over, and how many are at it
	task   func(worker, task int)
	tasks  int64
	next   atomic.Int64 // task to hand out
	caller sleeper      // Run

	each     func(task int)
	callEach func(worker, task int) // made once, because making it allocates
}

// A round is its number above a bit that says that nobody may join it any more
// and the number of workers that have joined and not left.
const (
	roundShift = 32
	over       = 1 << 31
	joined     = over - 1
)

type worker struct {
	sleeper
	_ [64]byte // each on a cache line of its own
}

// sleeper is someone who may sleep until woken.
type sleeper struct {
	asleep atomic.Bool
	bell   chan struct{}
}

// sleep returns when ready says so. A late call of wake, meant for an earlier
// sleep, does no harm.
func (s *sleeper) sleep(ready func() bool) {
	for !ready() {
		s.asleep.Store(true)
		// What makes it ready may have come before it was seen to sleep. If it is
		// being woken nevertheless, the bell must be heard.
		if ready() && s.asleep.CompareAndSwap(true, false) {
			return
		}
		<-s.bell
	}
}

func (s *sleeper) wake() {
	if s.asleep.CompareAndSwap(true, false) {
		s.bell <- struct{}{}
	}
}

// looks take about 50 microseconds.
const looks = 40_000

// NewPool returns a pool of that many threads, the caller's among them; 0 is
// one for each core that Go may use.
func NewPool(threads int) *Pool {
	cores := runtime.GOMAXPROCS(0)
	if threads <= 0 {
		threads = cores
	}
	p := &Pool{workers: make([]worker, threads-1)}
	if threads <= cores { // else looking would keep others from working
		p.spins = looks
	}
	p.caller.bell = make(chan struct{}, 1)
	p.callEach = func(_, task int) { p.each(task) }
	for i := range p.workers {
		p.workers[i].bell = make(chan struct{}, 1)
		p.exit.Go(func() { p.serve(i + 1) })
	}
	return p
}

// serve joins every round that it comes in time for, until the pool is closed.
func (p *Pool) serve(index int) {
	me := &p.workers[index-1]
	seen := uint64(0)
	news := func() bool {
		r := p.round.Load()
		return r>>roundShift != seen && r&over == 0
	}
	for {
		if !p.look(news) {
			me.sleep(news)
		}
		r := p.round.Load()
		if r>>roundShift == seen || r&over != 0 || !p.round.CompareAndSwap(r, r+1) {
			continue
		}
		seen = r >> roundShift
		p.work(index)
		if r := p.round.Add(^uint64(0)); r&over != 0 && r&joined == 0 {
			p.caller.wake()
		}
		if p.closed.Load() {
			return
		}
	}
}

// look says whether something became true within a moment.
func (p *Pool) look(ready func() bool) bool {
	for range p.spins {
		if ready() {
			return true
		}
	}
	return false
}

// Workers is the number of threads; worker indices are below it.
func (p *Pool) Workers() int { return len(p.workers) + 1 }

// Close ends the goroutines of the pool and waits for them.
func (p *Pool) Close() {
	p.closed.Store(true)
	p.tasks = 0
	p.begin() // and let all join
	p.exit.Wait()
}

// begin opens a round.
func (p *Pool) begin() {
	p.round.Store((p.round.Load()>>roundShift + 1) << roundShift)
	for i := range p.workers {
		p.workers[i].wake()
	}
}

// end closes a round and waits for those who joined it.
func (p *Pool) end() {
	p.round.Or(over)
	if left := p.allLeft; !p.look(left) {
		p.caller.sleep(left)
	}
}

func (p *Pool) allLeft() bool { return p.round.Load()&joined == 0 }

// Run calls f(worker, task) once for every task below tasks and returns when
// all are done. Calls with the same worker never overlap. One Run at a time.
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

// Each is Run for work that has no use for the worker's index.
func (p *Pool) Each(tasks int, f func(task int)) {
	p.each = f
	p.Run(tasks, p.callEach)
	p.each = nil
}
