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
//
//	d, err := driver.Open(0)
//	...
//	err = d.Do(func(c *driver.Context) error {
//		m, err := c.Module(ptx)
//		...
//		return stream.Launch(f, [3]uint32{blocks, 1, 1}, [3]uint32{256, 1, 1}, 0, args)
//	})
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
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// Env names a driver library to open instead of the machine's.
const Env = "HATCHERY_LIBCUDA"

// OldestCUDA is the version of CUDA that a driver must support: that of the
// compiler that made the kernels' PTX, as cuDriverGetVersion gives it.
const OldestCUDA = 11080

var libraries = []string{
	"libcuda.so.1",
	"/usr/local/nvidia/lib64/libcuda.so.1",          // containers
	"/usr/lib/wsl/lib/libcuda.so.1",                 // Windows
	"/run/opengl-driver/lib/libcuda.so.1",           // NixOS
	"/usr/lib64-nvidia/libcuda.so.1",                // notebooks in a cloud
	"/usr/local/cuda/compat/libcuda.so.1",           // forward compatibility
	"/usr/lib/x86_64-linux-gnu/libcuda.so.1",        // where ld.so has no cache of it
	"/usr/lib/aarch64-linux-gnu/libcuda.so.1",       //
	"/usr/lib64/libcuda.so.1",                       //
	"/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1", //
}

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

// Library is the path or name under which the driver was found.
func Library() string { return load.path }

func open() (string, error) {
	paths := libraries
	if p := os.Getenv(Env); p != "" {
		paths = []string{p}
	}
	var tried []string
	for _, p := range paths {
		if strings.Contains(p, "/") {
			if _, err := os.Stat(p); err != nil && len(paths) > 1 {
				continue
			}
		}
		switch code, why := initialise(p); {
		case code < 0:
			tried = append(tried, why)
		case code > 0:
			return p, fmt.Errorf("the NVIDIA driver (%s) does not start: %w", p, &Error{"cuInit", Code(code)})
		default:
			if v := cu.Version(); v < OldestCUDA {
				return p, fmt.Errorf("the NVIDIA driver (%s) is for CUDA %s, hatchery needs %s or newer: update the driver",
					p, Version(v), Version(OldestCUDA))
			}
			return p, nil
		}
	}
	return "", fmt.Errorf("no NVIDIA driver: %s; if this machine has an NVIDIA card install its driver "+
		"(nvidia-smi must work; in a container, start it with --gpus all), or name libcuda.so.1 in %s",
		strings.Join(tried, "; "), Env)
}

func initialise(path string) (code int, why string) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var text [512]C.char
	code = int(C.hatchery_load(p, &text[0], C.size_t(len(text))))
	return code, C.GoString(&text[0])
}

// Version writes a version of CUDA as cuDriverGetVersion gives it, 12040 as 12.4.
func Version(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// CUDA is the newest version of CUDA that the driver supports, as
// cuDriverGetVersion gives it, or 0 before Load has succeeded.
func CUDA() int {
	if v := cu.Version(); v > 0 {
		return v
	}
	return 0
}
