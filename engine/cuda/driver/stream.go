//go:build gpu

package driver

// #cgo noescape launch
// #cgo nocallback launch
// #include "calls.h"
import "C"

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"gorgonia.org/cu"
)

// Stream is a queue of work on a device. The work of a stream runs in order; different
// streams run concurrently.
type Stream struct{ s cu.Stream }

// Stream makes a stream. It does not wait for the legacy default stream.
func (c *Context) Stream() (*Stream, error) {
	s, err := cu.MakeStream(cu.NonBlocking)
	if err != nil {
		return nil, wrap("cuStreamCreate", err)
	}
	return &Stream{s}, nil
}

// Handle returns the CUstream, for other libraries.
func (s *Stream) Handle() uintptr { return uintptr(unsafe.Pointer(s.s.C())) }

// Synchronize waits until all work in the stream is done. It must not be called during a
// capture.
func (s *Stream) Synchronize() error { return wrap("cuStreamSynchronize", s.s.Synchronize()) }

// Destroy destroys the stream after its work is done. It does not wait.
func (s *Stream) Destroy() error { return wrap("cuStreamDestroy", s.s.Destroy()) }

// MaxArguments is the maximum number of arguments of a kernel.
const MaxArguments = C.max_arguments

// Launch puts a kernel into the stream. grid is in blocks, block in threads,
// shared in bytes of dynamic shared memory. Each element of args is one
// argument: an address or a 64-bit integer, or a 32-bit integer or the bits of a float32
// in the lower half. Launch copies the arguments and allocates nothing.
func (s *Stream) Launch(f Function, grid, block [3]uint32, shared uint32, args []uint64) error {
	if len(args) > MaxArguments {
		return fmt.Errorf("cuLaunchKernel: %d arguments; the maximum is %d", len(args), MaxArguments)
	}
	return check("cuLaunchKernel", C.launch(f.h, (*C.uint32_t)(&grid[0]), (*C.uint32_t)(&block[0]), C.uint32_t(shared),
		C.handle(s.Handle()), (*C.uint64_t)(unsafe.SliceData(args)), C.int(len(args))))
}

// CopyToDevice puts a copy from pinned memory into the stream. The host must not change src
// until the copy is done.
func (s *Stream) CopyToDevice(dst Ptr, src Pinned) error {
	return wrap("cuMemcpyHtoDAsync", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), src.p, int64(src.n), s.s))
}

// CopyToHost puts a copy to pinned memory into the stream. The host may read
// dst when the copy is done.
func (s *Stream) CopyToHost(dst Pinned, src Ptr) error {
	return wrap("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(dst.p, cu.DevicePtr(src), int64(dst.n), s.s))
}

// CopyOnDevice puts a copy within the device into the stream. dst and src must not overlap.
func (s *Stream) CopyOnDevice(dst, src Ptr, bytes int64) error {
	return wrap("cuMemcpyDtoDAsync", cu.MemcpyDtoDAsync(cu.DevicePtr(dst), cu.DevicePtr(src), bytes, s.s))
}

// Zero puts the clearing of device memory into the stream.
func (s *Stream) Zero(p Ptr, bytes int64) error {
	return wrap("cuMemsetD8Async", cu.MemsetD8Async(cu.DevicePtr(p), 0, bytes, s.s))
}

// Upload copies Go's memory to the device, after all work in the stream, and
// waits for it. T must not contain pointers. It must not be called during a capture.
func Upload[T any](s *Stream, dst Ptr, src []T) error {
	if len(src) == 0 {
		return nil
	}
	err := cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&src[0]), size(src), s.s)
	if err != nil {
		return wrap("cuMemcpyHtoDAsync", err)
	}
	return s.Synchronize()
}

// Download copies device memory to Go's, after all work in the stream, and
// waits for it. T must not contain pointers. It must not be called during a capture.
func Download[T any](s *Stream, dst []T, src Ptr) error {
	if len(dst) == 0 {
		return nil
	}
	err := cu.MemcpyDtoHAsync(unsafe.Pointer(&dst[0]), cu.DevicePtr(src), size(dst), s.s)
	if err != nil {
		return wrap("cuMemcpyDtoHAsync", err)
	}
	return s.Synchronize()
}

func size[T any](s []T) int64 { return int64(len(s)) * int64(unsafe.Sizeof(s[0])) }

// Event is a point in a stream's work.
type Event struct{ e cu.Event }

// Event makes an event for streams to wait for. Timed events can be used with Elapsed and
// cost a little more to record. The host may wait for them; it then polls, so that it
// notices the event at once.
func (c *Context) Event(timed bool) (*Event, error) {
	flags := cu.DisableTiming
	if timed {
		flags = cu.DefaultEvent
	}
	return makeEvent(flags)
}

// HostEvent makes an event that the host, too, can wait for. Its thread sleeps meanwhile.
func (c *Context) HostEvent() (*Event, error) {
	return makeEvent(cu.DisableTiming | cu.BlockingSyncEvent)
}

func makeEvent(flags cu.EventFlags) (*Event, error) {
	e, err := cu.MakeEvent(flags)
	if err != nil {
		return nil, wrap("cuEventCreate", err)
	}
	return &Event{e}, nil
}

// Record makes e complete when all work that is now in the stream is done.
func (s *Stream) Record(e *Event) error { return wrap("cuEventRecord", e.e.Record(s.s)) }

// Wait makes work that is put into the stream from now on run after e. Waiting for an event
// of a stream that is being captured makes this stream part of the capture.
func (s *Stream) Wait(e *Event) error { return wrap("cuStreamWaitEvent", s.s.Wait(e.e, 0)) }

// Synchronize waits for the event, which must be timed or a HostEvent. It must not be called
// during a capture.
func (e *Event) Synchronize() error { return wrap("cuEventSynchronize", e.e.Synchronize()) }

// Done reports whether the event has happened, without waiting.
func (e *Event) Done() (bool, error) {
	err := wrap("cuEventQuery", e.e.Query())
	if errors.Is(err, NotReady) {
		return false, nil
	}
	return err == nil, err
}

// Elapsed returns the time from start to e, which must both be timed and done. The
// resolution is about half a microsecond.
func (e *Event) Elapsed(start *Event) (time.Duration, error) {
	ms, err := start.e.Elapsed(e.e)
	return time.Duration(ms * float64(time.Millisecond)), wrap("cuEventElapsedTime", err)
}

// Destroy destroys the event.
func (e *Event) Destroy() error { return wrap("cuEventDestroy", cu.DestroyEvent(&e.e)) }
