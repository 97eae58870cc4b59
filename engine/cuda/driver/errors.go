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

// Codes that callers tell apart, with errors.Is.
const (
	OutOfMemory Code = 2
	NotReady    Code = 600
)

// Error gives NVIDIA's name for the code and its text.
func (c Code) Error() string {
	var name, text *C.char
	if C.cuGetErrorName_(C.int(c), &name) != 0 || C.cuGetErrorString_(C.int(c), &text) != 0 || name == nil || text == nil {
		return fmt.Sprintf("CUDA error %d", int(c))
	}
	return fmt.Sprintf("%s (%d): %s", C.GoString(name), int(c), C.GoString(text))
}

// Error is a call of the driver that failed. It unwraps to its Code.
type Error struct {
	Call string // cuLaunchKernel
	Code Code
}

func (e *Error) Unwrap() error { return e.Code }

func (e *Error) Error() string {
	s := e.Call + ": " + e.Code.Error()
	if mend := mends[e.Code]; mend != "" {
		s += "; " + mend
	}
	return s
}

// mends says what to do about an error.
var mends = map[Code]string{
	OutOfMemory: "take a smaller batch or micro-batch, or end other programs on this card (nvidia-smi lists them)",
	3:           "the driver was not loaded",
	34:          "this is the toolkit's stub of libcuda: put the driver's own before it in the library path",
	36:          "update the NVIDIA driver",
	46:          "the card is in use by another process, or in exclusive mode: see nvidia-smi",
	100:         "the driver sees no card: check nvidia-smi and CUDA_VISIBLE_DEVICES",
	101:         "nvidia-smi lists the cards, CUDA_VISIBLE_DEVICES hides some",
	200:         "the kernels in this binary do not suit this driver: update the driver",
	209:         "this card is too old for the kernels in this binary: compute capability 8.0 or newer is needed",
	214:         "the card's memory has a hardware error: nvidia-smi -q says more; the card must be reset",
	218:         "the kernels in this binary do not suit this driver: update the driver",
	222:         "the driver is older than the compiler of the kernels: update the driver",
	700:         "a fault in a kernel: run again under compute-sanitizer to find which",
	701:         "a fault in a launch: more threads or shared memory than the card has",
	702:         "a kernel ran too long: the card also drives a display, or hangs",
	716:         "a fault in a kernel: run again under compute-sanitizer to find which",
	719:         "a fault in a kernel: run again under compute-sanitizer to find which",
	802:         "the machine is still starting its cards: is nvidia-fabricmanager running?",
	803:         "the driver library and the kernel module differ in version: restart the machine",
	804:         "forward compatibility needs a data centre card: take CUDA's compat folder out of the library path",
	900:         "a call that a capture does not allow",
	999:         "the driver does not say why: see dmesg for lines of NVRM; after suspend, reload nvidia_uvm",
}

// check turns the result of one of our own calls into an error.
func check(call string, result C.int) error {
	if result == 0 {
		return nil
	}
	return &Error{call, Code(result)}
}

// wrap turns an error of gorgonia.org/cu into ours. Its type is not exported;
// it is the CUresult.
func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	if v := reflect.ValueOf(err); v.CanInt() {
		return &Error{call, Code(v.Int())}
	}
	return fmt.Errorf("%s: %w", call, err)
}
