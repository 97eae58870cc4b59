//go:build gpu

package driver

// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"bytes"
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// Ptr is an address in a device's memory; 0 is null.
type Ptr uint64

// Context is what a function given to Device.Do works with. It, and whatever
// comes of it, is for the device's thread alone.
type Context struct{ device *Device }

// Info is what is known of the context's device.
func (c *Context) Info() Info { return c.device.Info }

// Alloc allocates device memory, aligned to at least 256 bytes, its content
// undefined. Not during a capture.
func (c *Context) Alloc(bytes int64) (Ptr, error) {
	p, err := cu.MemAlloc(bytes)
	if err != nil {
		return 0, fmt.Errorf("%d bytes on device %d (%s): %w", bytes, c.device.Ordinal, c.device.Name, wrap("cuMemAlloc", err))
	}
	return Ptr(p), nil
}

// Free gives back what Alloc returned, after waiting for the device. Not during
// a capture.
func (c *Context) Free(p Ptr) error { return wrap("cuMemFree", cu.MemFree(cu.DevicePtr(p))) }

// MemInfo returns how many bytes of the device's memory are free, and how many it has.
func (c *Context) MemInfo() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, wrap("cuMemGetInfo", err)
}

// Synchronize waits for everything on the device.
func (c *Context) Synchronize() error { return wrap("cuCtxSynchronize", cu.Synchronize()) }

// Pinned is page-locked host memory, which the device copies from and to while
// the host goes on. It is no memory of Go's: it lives until FreePinned.
type Pinned struct {
	p unsafe.Pointer
	n int
}

// Pinned allocates pinned memory, its content undefined. Not during a capture.
func (c *Context) Pinned(bytes int) (Pinned, error) {
	var p unsafe.Pointer
	if err := check("cuMemHostAlloc", C.cuMemHostAlloc_(&p, C.size_t(bytes), 0)); err != nil {
		return Pinned{}, fmt.Errorf("%d bytes of pinned memory: %w", bytes, err)
	}
	return Pinned{p, bytes}, nil
}

// FreePinned gives back what Context.Pinned returned, after waiting for the
// device.
func (c *Context) FreePinned(p Pinned) error { return check("cuMemFreeHost", C.cuMemFreeHost_(p.p)) }

// Len returns the size in bytes.
func (p Pinned) Len() int { return p.n }

// Bytes returns the memory.
func (p Pinned) Bytes() []byte { return unsafe.Slice((*byte)(p.p), p.n) }

// Slice returns the part from byte from up to byte to.
func (p Pinned) Slice(from, to int) Pinned {
	if from < 0 || to < from || to > p.n {
		panic(fmt.Sprintf("driver: slice [%d:%d] of %d pinned bytes", from, to, p.n))
	}
	return Pinned{unsafe.Add(p.p, from), to - from}
}

// View returns pinned memory as values of another type, as many as fit. T must hold
// no pointers; the memory is aligned to 4096 bytes where it was allocated.
func View[T any](p Pinned) []T {
	var t T
	return unsafe.Slice((*T)(p.p), p.n/int(unsafe.Sizeof(t)))
}

// Module is compiled kernels.
type Module struct{ h C.handle }

// Module compiles PTX for the device. The error holds what the driver's
// compiler says. Not during a capture.
func (c *Context) Module(ptx []byte) (*Module, error) {
	if !bytes.HasSuffix(ptx, []byte{0}) {
		ptx = append(bytes.Clone(ptx), 0)
	}
	text := C.CBytes(ptx)
	defer C.free(text)
	log := (*C.char)(C.calloc(1, 8192))
	defer C.free(unsafe.Pointer(log))
	m := new(Module)
	if err := check("cuModuleLoadDataEx", C.load_module(&m.h, (*C.char)(text), log, 8192)); err != nil {
		if said := strings.TrimSpace(C.GoString(log)); said != "" {
			return nil, fmt.Errorf("compiling kernels for %s: %w: %s", c.device.Name, err, said)
		}
		return nil, fmt.Errorf("compiling kernels for %s: %w", c.device.Name, err)
	}
	return m, nil
}

// Unload gives a module back; its functions are then invalid.
func (m *Module) Unload() error { return check("cuModuleUnload", C.cuModuleUnload_(m.h)) }

// Function is a kernel of a module.
type Function struct{ h C.handle }

// Function finds a kernel by its extern "C" name.
func (m *Module) Function(name string) (Function, error) {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	var f Function
	if err := check("cuModuleGetFunction", C.cuModuleGetFunction_(&f.h, m.h, s)); err != nil {
		return Function{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return f, nil
}

// SetSharedLimit lets launches of f ask for up to so many bytes of dynamic
// shared memory; without it the limit is 48 KiB less what f has statically.
func (f Function) SetSharedLimit(bytes int) error {
	return check("cuFuncSetAttribute", C.cuFuncSetAttribute_(f.h, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes)))
}

// Usage is what a kernel takes of a multiprocessor.
type Usage struct {
	Registers int // of a thread
	Local     int // bytes a thread spills to memory
	Shared    int // static bytes of a block
}

// Usage asks the driver what f takes.
func (f Function) Usage() (Usage, error) {
	var u Usage
	for _, a := range []struct {
		attribute C.int
		to        *int
	}{
		{C.CU_FUNC_ATTRIBUTE_NUM_REGS, &u.Registers},
		{C.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, &u.Local},
		{C.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &u.Shared},
	} {
		var v C.int
		if err := check("cuFuncGetAttribute", C.cuFuncGetAttribute_(&v, a.attribute, f.h)); err != nil {
			return Usage{}, err
		}
		*a.to = int(v)
	}
	return u, nil
}

// BlocksPerMultiprocessor returns how many blocks of so many threads and bytes of
// dynamic shared memory a multiprocessor runs at a time.
func (f Function) BlocksPerMultiprocessor(threads, shared int) (int, error) {
	var n C.int
	err := check("cuOccupancyMaxActiveBlocksPerMultiprocessor", C.cuOccupancy_(&n, f.h, C.int(threads), C.size_t(shared)))
	return int(n), err
}
