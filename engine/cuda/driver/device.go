//go:build gpu

package driver

// #include "calls.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"gorgonia.org/cu"
)

// Info describes a device. It is available before the device is opened.
type Info struct {
	Ordinal         int
	Name            string
	Major, Minor    int   // compute capability
	Multiprocessors int   //
	Memory          int64 // bytes
	L2              int64 // bytes
	SharedPerBlock  int   // maximum bytes of shared memory of a block
	CUDA            int   // the newest version that the driver supports: see Version
	UUID            string
	PCI             string // bus ID, as nvidia-smi prints it
}

// Supported returns an error if the kernels cannot run on the device.
func (i Info) Supported() error {
	if i.Major < 8 {
		return fmt.Errorf("%s has compute capability %d.%d: the kernels use bfloat16 tensor cores and need 8.0 or newer (A100, RTX 30, H100)",
			i.Name, i.Major, i.Minor)
	}
	return nil
}

// Devices returns the machine's devices in the order of their ordinals.
func Devices() ([]Info, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, wrap("cuDeviceGetCount", err)
	}
	infos := make([]Info, n)
	for i := range infos {
		if infos[i], err = info(i); err != nil {
			return nil, fmt.Errorf("device %d: %w", i, err)
		}
	}
	return infos, nil
}

func info(ordinal int) (Info, error) {
	d, err := cu.GetDevice(ordinal)
	if err != nil {
		return Info{}, wrap("cuDeviceGet", err)
	}
	i := Info{Ordinal: ordinal, CUDA: cu.Version()}
	if i.Name, err = d.Name(); err != nil {
		return Info{}, wrap("cuDeviceGetName", err)
	}
	if i.Memory, err = d.TotalMem(); err != nil {
		return Info{}, wrap("cuDeviceTotalMem", err)
	}
	var l2 int
	for _, a := range []struct {
		attribute cu.DeviceAttribute
		to        *int
	}{
		{cu.ComputeCapabilityMajor, &i.Major},
		{cu.ComputeCapabilityMinor, &i.Minor},
		{cu.MultiprocessorCount, &i.Multiprocessors},
		{cu.L2CacheSize, &l2},
		{C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &i.SharedPerBlock}, // which cu has no name for
	} {
		if *a.to, err = d.Attribute(a.attribute); err != nil {
			return Info{}, wrap("cuDeviceGetAttribute", err)
		}
	}
	i.L2 = int64(l2)
	var id [16]C.char
	if C.cuDeviceGetUuid_(&id[0], C.int(ordinal)) == 0 || C.cuDeviceGetUuidOld_(&id[0], C.int(ordinal)) == 0 {
		var b [16]byte
		for k, c := range id {
			b[k] = byte(c)
		}
		i.UUID = fmt.Sprintf("GPU-%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	var bus [32]C.char
	if C.cuDeviceGetPCIBusId_(&bus[0], C.int(len(bus)), C.int(ordinal)) == 0 {
		i.PCI = C.GoString(&bus[0])
	}
	return i, nil
}

// Device is a device with its primary context, current on one operating system
// thread. Its methods may be called from any goroutine.
type Device struct {
	Info
	mu     sync.Mutex // one function at a time
	work   chan func(*Context) error
	done   chan result
	closed bool

	ended chan struct{} // closed when the thread has released the context
}

// result tells how a function ended: it returned an error, panicked, or ended the goroutine
// like FailNow of a test.
type result struct {
	err    error
	panic  any
	goexit bool
}

// contextActive is the error of setting flags for a primary context that already exists
// with other flags.
const contextActive Code = C.CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE

// ErrClosed is the error of Do after Close.
var ErrClosed = errors.New("the device is closed")

// Open opens a device and starts its thread. Close ends it.
func Open(ordinal int) (*Device, error) {
	all, err := Devices()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= len(all) {
		return nil, fmt.Errorf("there is no device %d: the driver sees %d (CUDA_VISIBLE_DEVICES may hide some)", ordinal, len(all))
	}
	if err := all[ordinal].Supported(); err != nil {
		return nil, err
	}
	d := &Device{Info: all[ordinal], work: make(chan func(*Context) error), done: make(chan result), ended: make(chan struct{})}
	started := make(chan error)
	go d.serve(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("device %d (%s): %w", ordinal, d.Name, err)
	}
	return d, nil
}

// serve runs on the device's thread. It does not unlock the thread, so the thread ends with
// the goroutine and no other goroutine gets the context.
func (d *Device) serve(started chan<- error) {
	runtime.LockOSThread()
	defer close(d.ended)
	dev := cu.Device(d.Ordinal)
	// Let the thread sleep while it waits for the device. By default it polls, which
	// takes a core from the loader for the whole training. If another library has made
	// the context with other flags, these stay, and waiting works too.
	if err := wrap("cuDevicePrimaryCtxSetFlags", dev.SetPrimaryCtxFlags(cu.SchedBlockingSync)); err != nil && !errors.Is(err, contextActive) {
		started <- err
		return
	}
	primary, err := dev.RetainPrimaryCtx()
	if err != nil {
		started <- wrap("cuDevicePrimaryCtxRetain", err)
		return
	}
	defer dev.ReleasePrimaryCtx()
	if err := cu.SetCurrentContext(primary); err != nil {
		started <- wrap("cuCtxSetCurrent", err)
		return
	}
	started <- nil
	c := &Context{device: d}
	for f := range d.work {
		d.run(f, c)
	}
}

func (d *Device) run(f func(*Context) error, c *Context) {
	r := result{goexit: true}
	defer func() {
		if p := recover(); p != nil {
			r = result{panic: p}
		}
		d.done <- r
	}()
	r = result{err: f(c)}
}

// Do runs f on the device's thread and returns its error. Calls run one after another; f must
// not call Do of the same device. If f panics or ends its goroutine, Do does the same.
func (d *Device) Do(f func(*Context) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.work <- f
	r := <-d.done
	if r.goexit {
		d.closed = true // its thread has ended
		runtime.Goexit()
	}
	if r.panic != nil {
		panic(r.panic)
	}
	return r.err
}

// Close ends the device's thread and waits until the thread has released the primary
// context. Work that is still running on the device ends. Further calls do nothing.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.work)
	}
	<-d.ended
}
