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

// Info is what is known of a device before it is opened.
type Info struct {
	Ordinal         int
	Name            string
	Major, Minor    int   // compute capability
	Multiprocessors int   //
	Memory          int64 // bytes
	L2              int64 // bytes
	SharedPerBlock  int   // bytes of shared memory a block may ask for
	CUDA            int   // newest version that the driver supports, see Version
	UUID            string
	PCI             string // bus, as nvidia-smi writes it
}

// Supported says why the kernels cannot run on a device, or returns nil.
func (i Info) Supported() error {
	if i.Major < 8 {
		return fmt.Errorf("%s has compute capability %d.%d: the kernels use bfloat16 tensor cores and need 8.0 or newer (A100, RTX 30, H100)",
			i.Name, i.Major, i.Minor)
	}
	return nil
}

// Devices lists the machine's devices in the order of their ordinals.
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
	mu   sync.Mutex // one function at a time
	work chan func(*Context) error
	done chan result
	gone bool

	ended chan struct{} // closed when the thread has given the context back
}

// result is how a function ended: with an error, with a panic, or with the
// goroutine, as a test's FailNow does.
type result struct {
	err    error
	panic  any
	goexit bool
}

// contextActive is what the driver answers to flags for a primary context that
// exists with others.
const contextActive Code = C.CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE

// ErrClosed is what Do answers after Close.
var ErrClosed = errors.New("the device is closed")

// Open makes a device ready and starts its thread. Close ends it.
func Open(ordinal int) (*Device, error) {
	all, err := Devices()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= len(all) {
		return nil, fmt.Errorf("there is no device %d: the driver sees %d (CUDA_VISIBLE_DEVICES hides some)", ordinal, len(all))
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

// serve is the device's thread. It is never unlocked, so it ends with the
// goroutine and nobody else inherits the context.
func (d *Device) serve(started chan<- error) {
	runtime.LockOSThread()
	defer close(d.ended)
	dev := cu.Device(d.Ordinal)
	// A thread that waits for the device sleeps: by default it polls, which takes
	// a core from the loader for as long as training lasts. Where another library
	// has made the context with other flags they stay, and waiting works as well.
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

// Do runs f on the device's thread and returns its error. Functions run one
// after another; f must not call Do of the same device. If f panics, or ends its
// goroutine, so does the caller.
func (d *Device) Do(f func(*Context) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return ErrClosed
	}
	d.work <- f
	r := <-d.done
	if r.goexit {
		d.gone = true // its thread has ended
		runtime.Goexit()
	}
	if r.panic != nil {
		panic(r.panic)
	}
	return r.err
}

// Close ends the device's thread and waits until it has given back its primary
// context. What is still under way on the device ends with it. Calling it again
// does nothing.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.gone {
		d.gone = true
		close(d.work)
	}
	<-d.ended
}
