//go:build gpu

package cuda

import (
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/lower"
)

// results brings what the runs of a program leave to the host, one run after
// another, while the device is busy with later ones.
type results struct {
	from    driver.Ptr
	arrived []result // a ring
	head    int      // runs whose results were asked for
	read    int      // runs whose results were waited for
}

// result is a place for what one run leaves.
type result struct {
	memory driver.Pinned
	landed *driver.Event
}

// newResults has room for n runs that nobody has waited for.
func newResults(c *driver.Context, p *lower.Program, s *store, n int) (r results, err error) {
	r = results{from: s.regions[lower.Results], arrived: make([]result, n)}
	for i := range r.arrived {
		a := &r.arrived[i]
		if a.memory, err = s.host(c, p.ResultBytes); err != nil {
			return r, err
		}
		if a.landed, err = c.HostEvent(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *results) full() bool  { return r.head-r.read == len(r.arrived) }
func (r *results) empty() bool { return r.head == r.read }

// ask has the results of the run that main was given last copied. slot is what
// wait will return for them; there must be room.
func (r *results) ask(main *driver.Stream) (slot int, err error) {
	slot = r.head % len(r.arrived)
	a := &r.arrived[slot]
	if err := main.CopyToHost(a.memory, r.from); err != nil {
		return slot, err
	}
	r.head++
	return slot, main.Record(a.landed)
}

// wait waits for the oldest results that nobody has waited for. The memory holds
// them until the next ask.
func (r *results) wait() (slot int, memory driver.Pinned, err error) {
	slot = r.read % len(r.arrived)
	a := &r.arrived[slot]
	if err := a.landed.Synchronize(); err != nil {
		return slot, a.memory, err
	}
	r.read++
	return slot, a.memory, nil
}

// close gives the events back; the memory is the store's.
func (r *results) close() {
	for _, a := range r.arrived {
		if a.landed != nil {
			a.landed.Destroy()
		}
	}
}
