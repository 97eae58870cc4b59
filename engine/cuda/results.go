//go:build gpu

package cuda

import (
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/lower"
)

// results copies the results of a program's runs to the host, in order, while the device
// executes later runs.
type results struct {
	from  driver.Ptr
	slots []result // a ring
	head  int      // number of runs whose results were requested
	read  int      // number of runs whose results were read
}

// result is a slot for the results of one run.
type result struct {
	memory driver.Pinned
	copied *driver.Event
}

// newResults makes results with slots for n runs.
func newResults(c *driver.Context, p *lower.Program, s *store, n int) (r results, err error) {
	r = results{from: s.regions[lower.Results], slots: make([]result, n)}
	for i := range r.slots {
		a := &r.slots[i]
		if a.memory, err = s.host(c, p.ResultBytes); err != nil {
			return r, err
		}
		if a.copied, err = c.HostEvent(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *results) full() bool  { return r.head-r.read == len(r.slots) }
func (r *results) empty() bool { return r.head == r.read }

// request queues the copying of the results of the last run in main. There must be a free
// slot. wait will return the same slot.
func (r *results) request(main *driver.Stream) (slot int, err error) {
	slot = r.head % len(r.slots)
	a := &r.slots[slot]
	if err := main.CopyToHost(a.memory, r.from); err != nil {
		return slot, err
	}
	r.head++
	return slot, main.Record(a.copied)
}

// wait waits for the oldest results that have not been read. The memory holds them until
// the next request.
func (r *results) wait() (slot int, memory driver.Pinned, err error) {
	slot = r.read % len(r.slots)
	a := &r.slots[slot]
	if err := a.copied.Synchronize(); err != nil {
		return slot, a.memory, err
	}
	r.read++
	return slot, a.memory, nil
}

// close destroys the events. The memory belongs to the store.
func (r *results) close() {
	for _, a := range r.slots {
		if a.copied != nil {
			a.copied.Destroy()
		}
	}
}
