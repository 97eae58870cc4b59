//go:build gpu

package driver

// #include "calls.h"
import "C"

import (
	"fmt"
	"reflect"
)

// Code is a CUresult.
type Code int

// Codes for errors.Is.
const (
	OutOfMemory Code = C.CUDA_ERROR_OUT_OF_MEMORY
	NotReady    Code = C.CUDA_ERROR_NOT_READY
)

// Error returns NVIDIA's name and description of the code.
func (c Code) Error() string {
	var name, text *C.char
	if C.cuGetErrorName_(C.int(c), &name) != 0 || C.cuGetErrorString_(C.int(c), &text) != 0 || name == nil || text == nil {
		return fmt.Sprintf("CUDA error %d", int(c))
	}
	return fmt.Sprintf("%s (%d): %s", C.GoString(name), int(c), C.GoString(text))
}

// Error is the error of a call to the driver. It unwraps to its Code.
type Error struct {
	Call string // such as cuLaunchKernel
	Code Code
}

func (e *Error) Unwrap() error { return e.Code }

func (e *Error) Error() string {
	s := e.Call + ": " + e.Code.Error()
	if advice := remedies[e.Code]; advice != "" {
		s += "; " + advice
	}
	return s
}

// remedies tells the user what to do about an error.
var remedies = map[Code]string{
	OutOfMemory:                                 "take a smaller batch or micro-batch, or end other programs on this card (nvidia-smi lists them)",
	C.CUDA_ERROR_NOT_INITIALIZED:                "the driver was not loaded",
	C.CUDA_ERROR_STUB_LIBRARY:                   "this is the toolkit's stub of libcuda: put the driver's own before it in the library path",
	C.CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER:     "update the NVIDIA driver",
	C.CUDA_ERROR_DEVICE_UNAVAILABLE:             "the card is in use by another process, or in exclusive mode: see nvidia-smi",
	C.CUDA_ERROR_NO_DEVICE:                      "the driver sees no card: check nvidia-smi and CUDA_VISIBLE_DEVICES",
	C.CUDA_ERROR_INVALID_DEVICE:                 "nvidia-smi lists the cards, CUDA_VISIBLE_DEVICES hides some",
	C.CUDA_ERROR_INVALID_IMAGE:                  "the kernels in this binary do not suit this driver: update the driver",
	C.CUDA_ERROR_NO_BINARY_FOR_GPU:              "this card is too old for the kernels in this binary: compute capability 8.0 or newer is needed",
	C.CUDA_ERROR_ECC_UNCORRECTABLE:              "the card's memory has a hardware error: nvidia-smi -q says more; the card must be reset",
	C.CUDA_ERROR_INVALID_PTX:                    "the kernels in this binary do not suit this driver: update the driver",
	C.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:        "the driver is older than the compiler of the kernels: update the driver",
	C.CUDA_ERROR_ILLEGAL_ADDRESS:                "a fault in a kernel: run again under compute-sanitizer to find which",
	C.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:        "a fault in a launch: more threads or shared memory than the card has",
	C.CUDA_ERROR_LAUNCH_TIMEOUT:                 "a kernel ran too long: the card also drives a display, or hangs",
	C.CUDA_ERROR_MISALIGNED_ADDRESS:             "a fault in a kernel: run again under compute-sanitizer to find which",
	C.CUDA_ERROR_LAUNCH_FAILED:                  "a fault in a kernel: run again under compute-sanitizer to find which",
	C.CUDA_ERROR_SYSTEM_NOT_READY:               "the machine is still starting its cards: is nvidia-fabricmanager running?",
	C.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:         "the driver library and the kernel module differ in version: restart the machine",
	C.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE: "forward compatibility needs a data centre card: take CUDA's compat folder out of the library path",
	C.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:     "a call that a capture does not allow",
	C.CUDA_ERROR_UNKNOWN:                        "the driver does not say why: see dmesg for lines of NVRM; after suspend, reload nvidia_uvm",
}

// check turns the result of a call into an error.
func check(call string, result C.int) error {
	if result == C.CUDA_SUCCESS {
		return nil
	}
	return &Error{call, Code(result)}
}

// wrap turns an error of gorgonia.org/cu into an *Error. Its type is not exported; its value
// is the CUresult.
func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	if v := reflect.ValueOf(err); v.CanInt() {
		return &Error{call, Code(v.Int())}
	}
	return fmt.Errorf("%s: %w", call, err)
}
