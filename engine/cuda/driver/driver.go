//go:build gpu

// Package driver calls NVIDIA's CUDA driver: devices, memory, kernels, streams and captured
// graphs.
//
// Load opens the driver library at run time, so that the same binary starts on machines
// without it. Calls go through gorgonia.org/cu if it has them. Stream capture, graphs,
// pinned memory, modules and launches are implemented here.
//
// A Device owns one operating system thread. All work is done by functions that Device.Do
// runs on that thread; a whole training step is one such function.
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

// Env is the environment variable that names a driver library to open instead of the
// machine's.
const Env = library.EnvCUDA

// OldestCUDA is the version of CUDA that a driver must support: that of the
// compiler that made the kernels' PTX, as cuDriverGetVersion gives it.
const OldestCUDA = 11080

var load struct {
	once sync.Once
	path string
	err  error
}

// Load opens and initialises the driver library, once per process. The error says what is
// missing and what to do. Nothing else in this package works before Load has succeeded;
// Devices and Open call it.
func Load() error {
	load.once.Do(func() { load.path, load.err = open() })
	return load.err
}

// Library returns the file of the driver that Load opened, or "".
func Library() string { return load.path }

func open() (string, error) {
	files := library.Local().CUDA()
	var attempts library.Attempts
	for _, f := range files {
		if err := library.Check(f); err != nil {
			if len(files) > 1 && errors.Is(err, fs.ErrNotExist) {
				attempts.Missing()
			} else {
				attempts.Failed(err.Error())
			}
			continue
		}
		code, path, reason := initialise(f)
		switch {
		case code < 0:
			attempts.Failed(reason)
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
		"(nvidia-smi must work; in a container, start it with --gpus all), or name libcuda.so.1 in %s", &attempts, Env)
}

// initialise opens a driver library and calls cuInit. code is the result of cuInit, and path
// is the file that was opened. If it could not be opened, code is negative and reason says
// why.
func initialise(file string) (code int, path, reason string) {
	f := C.CString(file)
	defer C.free(unsafe.Pointer(f))
	var text [4096]C.char
	if code = int(C.hatchery_load(f, &text[0], C.size_t(len(text)))); code < 0 {
		return code, "", C.GoString(&text[0])
	}
	return code, C.GoString(&text[0]), ""
}

// Version formats a version of CUDA that cuDriverGetVersion returned: 12040 is 12.4.
func Version(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// CUDA returns the newest version of CUDA that the driver supports, as
// cuDriverGetVersion gives it, or 0 before Load has succeeded.
func CUDA() int {
	if v := cu.Version(); v > 0 {
		return v
	}
	return 0
}
