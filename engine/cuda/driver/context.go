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

// Context gives a function in Device.Do access to the device. It, and all objects made with
// it, must be used only on the device's thread.
type Context struct{ device *Device }

// Info returns the description of the context's device.
func (c *Context) Info() Info { return c.device.Info }

// Alloc allocates device memory, aligned to at least 256 bytes, with undefined content. It
// must not be called during a capture.
func (c *Context) Alloc(bytes int64) (Ptr, error) {
	p, err := cu.MemAlloc(bytes)
	if err != nil {
		return 0, fmt.Errorf("%d bytes on device %d (%s): %w", bytes, c.device.Ordinal, c.device.Name, wrap("cuMemAlloc", err))
	}
	return Ptr(p), nil
}

// Free waits for the device and frees memory from Alloc. It must not be called during a
// capture.
func (c *Context) Free(p Ptr) error { return wrap("cuMemFree", cu.MemFree(cu.DevicePtr(p))) }

// MemInfo returns the free and the total memory of the device in bytes.
func (c *Context) MemInfo() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, wrap("cuMemGetInfo", err)
}

// Synchronize waits for all work on the device.
func (c *Context) Synchronize() error { return wrap("cuCtxSynchronize", cu.Synchronize()) }

// Pinned is page-locked host memory, to and from which the device copies asynchronously. It
// is not managed by Go: it lives until FreePinned.
type Pinned struct {
	p unsafe.Pointer
	n int
}

// Pinned allocates pinned memory with undefined content. It must not be called during a
// capture.
func (c *Context) Pinned(bytes int) (Pinned, error) {
	var p unsafe.Pointer
	if err := check("cuMemHostAlloc", C.cuMemHostAlloc_(&p, C.size_t(bytes), 0)); err != nil {
		return Pinned{}, fmt.Errorf("%d bytes of pinned memory: %w", bytes, err)
	}
	return Pinned{p, bytes}, nil
}

// FreePinned waits for the device and frees memory from Context.Pinned.
func (c *Context) FreePinned(p Pinned) error { return check("cuMemFreeHost", C.cuMemFreeHost_(p.p)) }

// Len returns the size in bytes.
func (p Pinned) Len() int { return p.n }

// Bytes returns the memory as a slice.
func (p Pinned) Bytes() []byte { return unsafe.Slice((*byte)(p.p), p.n) }

// Slice returns the bytes [from, to).
func (p Pinned) Slice(from, to int) Pinned {
	if from < 0 || to < from || to > p.n {
		panic(fmt.Sprintf("driver: slice [%d:%d] of %d pinned bytes", from, to, p.n))
	}
	return Pinned{unsafe.Add(p.p, from), to - from}
}

// View returns pinned memory as a slice of T, with as many elements as fit. T must not
// contain pointers. Memory from Context.Pinned is aligned to 4096 bytes.
func View[T any](p Pinned) []T {
	var t T
	return unsafe.Slice((*T)(p.p), p.n/int(unsafe.Sizeof(t)))
}

// Module is a set of compiled kernels.
type Module struct{ h C.handle }

// Module compiles PTX for the device. The error contains the messages of the driver's
// compiler. Module must not be called during a capture.
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
		if text := strings.TrimSpace(C.GoString(log)); text != "" {
			return nil, fmt.Errorf("compiling kernels for %s: %w: %s", c.device.Name, err, text)
		}
		return nil, fmt.Errorf("compiling kernels for %s: %w", c.device.Name, err)
	}
	return m, nil
}

// Unload unloads a module. Its functions are then invalid.
func (m *Module) Unload() error { return check("cuModuleUnload", C.cuModuleUnload_(m.h)) }

// Function is a kernel of a module.
type Function struct{ h C.handle }

// Function returns the kernel with the given extern "C" name.
func (m *Module) Function(name string) (Function, error) {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	var f Function
	if err := check("cuModuleGetFunction", C.cuModuleGetFunction_(&f.h, m.h, s)); err != nil {
		return Function{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return f, nil
}

// SetSharedLimit sets the limit of dynamic shared memory for launches of f. By default it is
// 48 KiB minus the static shared memory of f.
func (f Function) SetSharedLimit(bytes int) error {
	return check("cuFuncSetAttribute", C.cuFuncSetAttribute_(f.h, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes)))
}

// Usage is the use of a multiprocessor's resources by a kernel.
type Usage struct {
	Registers int // per thread
	Local     int // bytes of local memory per thread, for spilled registers
	Shared    int // bytes of static shared memory per block
}

// Usage returns the resources that f uses.
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

// BlocksPerMultiprocessor returns the number of blocks with the given threads and bytes of
// dynamic shared memory that a multiprocessor runs at the same time.
func (f Function) BlocksPerMultiprocessor(threads, shared int) (int, error) {
	var n C.int
	err := check("cuOccupancyMaxActiveBlocksPerMultiprocessor", C.cuOccupancy_(&n, f.h, C.int(threads), C.size_t(shared)))
	return int(n), err
}
