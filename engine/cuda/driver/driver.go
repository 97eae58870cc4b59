//go:build gpu

// Package driver is NVIDIA's CUDA driver: devices, memory, kernels, streams and
// captured graphs.
//
// The driver library is opened by Load at run time, so that the same binary
// starts on machines without it. Calls go through gorgonia.org/cu where it has
// them; stream capture, graphs, pinned memory, modules and launches are our own.
//
// A Device owns one operating system thread. Everything happens in functions
// given to Device.Do, which run on that thread; a whole training step is one
// function.
package driver

/*
#cgo CFLAGS: -I${SRCDIR}/include
#cgo LDFLAGS: -L${SRCDIR}/link -Wl,--as-needed -ldl
#cgo noescape launch
#cgo nocallback launch
#include <stdlib.h>
#include "calls.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"hatchery/engine/cuda/library"
)

// Env names a driver library to open instead of the machine's.
const Env = library.EnvCUDA

// OldestCUDA is the version of CUDA that a driver must support: that of the
// compiler that made the kernels' PTX, as cuDriverGetVersion gives it.
const OldestCUDA = 11080

var load struct {
	once sync.Once
	path string
	err  error
}

// Load opens the driver library and initialises it, once for the process. The
// error says what is missing and how to mend it. Nothing else in this package
// works before Load has succeeded; Devices and Open call it.
func Load() error {
	load.once.Do(func() { load.path, load.err = open() })
	return load.err
}

// Library returns the driver's file that Load opened, "" if there was none.
func Library() string { return load.path }

func open() (string, error) {
	files := library.This().CUDA()
	var tried library.Tried
	for _, f := range files {
		if err := library.Check(f); err != nil {
			if len(files) > 1 && errors.Is(err, fs.ErrNotExist) {
				tried.Missing()
			} else {
				tried.Failed(err.Error())
			}
			continue
		}
		code, path, why := initialise(f)
		switch {
		case code < 0:
			tried.Failed(why)
		case code > 0:
			return path, fmt.Errorf("the NVIDIA driver (%s) does not start: %w", path, &Error{"cuInit", Code(code)})
		default:
			if v := cu.Version(); v < OldestCUDA {
				return path, fmt.Errorf("the NVIDIA driver (%s) is for CUDA %s, hatchery needs %s or newer: update the driver",
					path, Version(v), Version(OldestCUDA))
			}
			return path, nil
		}
	}
	return "", fmt.Errorf("no NVIDIA driver: %s; if this machine has an NVIDIA card install its driver "+
		"(nvidia-smi must work; in a container, start it with --gpus all), or name libcuda.so.1 in %s", &tried, Env)
}

// initialise opens a driver library and has it start. The code is cuInit's, and
// path the file that was opened; or the code is below 0, and why says why it was
// not opened.
func initialise(file string) (code int, path, why string) {
	f := C.CString(file)
	defer C.free(unsafe.Pointer(f))
	var text [4096]C.char
	if code = int(C.hatchery_load(f, &text[0], C.size_t(len(text)))); code < 0 {
		return code, "", C.GoString(&text[0])
	}
	return code, C.GoString(&text[0]), ""
}

// Version writes a version of CUDA as cuDriverGetVersion gives it, 12040 as 12.4.
func Version(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// CUDA returns the newest version of CUDA that the driver supports, as
// cuDriverGetVersion gives it, or 0 before Load has succeeded.
func CUDA() int {
	if v := cu.Version(); v > 0 {
		return v
	}
	return 0
}
