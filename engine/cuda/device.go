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

// allocRegions allocates regions of so many bytes, in an order that is always the same.
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

// at returns the address of a buffer.
func (s *store) at(b kernels.Buffer) driver.Ptr {
	if b.IsNull() {
		return 0
	}
	return s.regions[b.ID] + driver.Ptr(b.Offset)
}
