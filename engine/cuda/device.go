//go:build gpu

package cuda

import (
	"fmt"
	"maps"
	"slices"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
)

// gpu is one device with its compiled kernels.
type gpu struct {
	*driver.Device
	module    *driver.Module
	functions map[string]*function
	queue     *driver.Stream // for copies that the host waits for
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
	_ = g.Do(func(c *driver.Context) error {
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

// title returns the name of a device in messages.
func title(i driver.Info) string { return fmt.Sprintf("cuda:%d %s", i.Ordinal, i.Name) }

func (g *gpu) name() string { return title(g.Info) }

// function is a kernel with its limit of dynamic shared memory.
type function struct {
	driver.Function
	shared uint32 // bytes
}

// function returns the kernel of the given name, for launches with the given number of
// bytes of dynamic shared memory.
func (g *gpu) function(name string, shared uint32) (driver.Function, error) {
	f := g.functions[name]
	if f == nil {
		const defaultLimit = 48 << 10
		found, err := g.module.Function(name)
		if err != nil {
			return found, err
		}
		f = &function{found, defaultLimit}
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

// store is a group of allocations that are freed together.
type store struct {
	regions [lower.Outside]driver.Ptr // by the ID of a kernels.Buffer
	device  []driver.Ptr
	pinned  []driver.Pinned
}

// alloc allocates zeroed device memory.
func (s *store) alloc(c *driver.Context, queue *driver.Stream, bytes int64) (driver.Ptr, error) {
	p, err := c.Alloc(max(bytes, 1))
	if err != nil {
		return 0, err
	}
	s.device = append(s.device, p)
	return p, queue.Zero(p, max(bytes, 1))
}

// allocRegions allocates regions of the given sizes in bytes, in a fixed order.
func (s *store) allocRegions(c *driver.Context, queue *driver.Stream, sizes map[lower.Region]int64) (err error) {
	for _, region := range slices.Sorted(maps.Keys(sizes)) {
		if s.regions[region], err = s.alloc(c, queue, sizes[region]); err != nil {
			return err
		}
	}
	return nil
}

// host allocates pinned memory.
func (s *store) host(c *driver.Context, bytes int64) (driver.Pinned, error) {
	p, err := c.Pinned(int(max(bytes, 1)))
	if err == nil {
		s.pinned = append(s.pinned, p)
	}
	return p, err
}

// free frees all memory.
func (s *store) free(c *driver.Context) {
	for _, p := range s.device {
		c.Free(p)
	}
	for _, p := range s.pinned {
		c.FreePinned(p)
	}
	s.device, s.pinned = nil, nil
}

// at returns the address of a buffer.
func (s *store) at(b kernels.Buffer) driver.Ptr {
	if b.IsNull() {
		return 0
	}
	return s.regions[b.ID] + driver.Ptr(b.Offset)
}
