//go:build gpu

package nvml

/*
#cgo LDFLAGS: -ldl
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

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/library"
)

// Env is the environment variable that names the library to open instead of the machine's
// libnvidia-ml.so.1.
const Env = library.EnvNVML

var load struct {
	once sync.Once
	path string
	err  error
}

// open opens the library, once per process.
func open() error {
	load.once.Do(func() { load.path, load.err = search() })
	return load.err
}

// Library returns the file that was opened, or "" before that and if there is none.
func Library() string { return load.path }

// search opens the first library that works.
func search() (string, error) {
	_ = driver.Load() // without the driver, only its folder is not searched
	files := library.Local().NVML(driver.Library())
	var attempts library.Attempts
	for _, f := range files {
		err := library.Check(f)
		if len(files) > 1 && errors.Is(err, fs.ErrNotExist) {
			attempts.Missing()
			continue
		}
		if err == nil {
			var path string
			if path, err = initialise(f); err == nil {
				return path, nil
			}
		}
		attempts.Failed(err.Error())
	}
	return "", fmt.Errorf("NVML: %s; it comes with NVIDIA's driver (in a container, with the capability \"utility\"), or name libnvidia-ml.so.1 in %s",
		&attempts, Env)
}

// initialise opens a library and calls nvmlInit. It returns the file that was opened.
func initialise(file string) (string, error) {
	f := C.CString(file)
	defer C.free(unsafe.Pointer(f))
	var text [4096]C.char
	rc := C.nvml_open(f, &text[0], C.size_t(len(text)))
	path := C.GoString(&text[0]) // or an error
	switch {
	case rc < 0:
		return "", errors.New(path)
	case rc > 0:
		return "", fmt.Errorf("%s does not start: nvmlInit: %s (%d)", path, C.GoString(C.nvml_error(rc)), int(rc))
	}
	return path, nil
}

func check(call string, rc C.int) error {
	if rc == 0 {
		return nil
	}
	return fmt.Errorf("NVML: %s: %s (%d)", call, C.GoString(C.nvml_error(rc)), int(rc))
}

// DriverVersion returns the version of NVIDIA's driver, such as 570.86.15.
func DriverVersion() (string, error) {
	if err := open(); err != nil {
		return "", err
	}
	var text [96]C.char
	err := check("nvmlSystemGetDriverVersion", C.nvml_driver_version(&text[0], C.uint(len(text))))
	return C.GoString(&text[0]), err
}

// Card is a GPU.
type Card struct{ h C.handle }

// Open returns the card with the UUID from driver.Info. The ordinals of CUDA and NVML may
// differ.
func Open(uuid string) (*Card, error) {
	if err := open(); err != nil {
		return nil, err
	}
	s := C.CString(uuid)
	defer C.free(unsafe.Pointer(s))
	c := new(Card)
	if err := check("nvmlDeviceGetHandleByUUID", C.nvml_card(s, &c.h)); err != nil {
		return nil, fmt.Errorf("card %s: %w", uuid, err)
	}
	return c, nil
}

// Read reads the card's state. This takes tens of microseconds, on some cards milliseconds.
// It may be called from any goroutine.
func (c *Card) Read() (Reading, error) {
	var r C.struct_reading
	if err := check("reading a card", C.nvml_read(c.h, &r)); err != nil {
		return Reading{}, err
	}
	return Reading{
		Busy: int(r.busy), MemoryBusy: int(r.memory_busy),
		Used: int64(r.used), Total: int64(r.total),
		Temperature: int(r.temperature),
		Power:       float64(r.power) / 1000, PowerLimit: float64(r.power_limit) / 1000,
	}, nil
}
