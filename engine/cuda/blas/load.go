//go:build gpu

package blas

/*
#cgo LDFLAGS: -ldl
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include "calls.h"

// find writes to text the file that ld.so opens for a name. It returns 0, or -1 and the
// error in text.
static int find(const char *name, char *text, size_t size) {
	struct link_map *m;
	void *l = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
	if (!l || dlinfo(l, RTLD_DI_LINKMAP, &m)) {
		snprintf(text, size, "%s", dlerror());
		if (l) dlclose(l);
		return -1;
	}
	snprintf(text, size, "%s", m->l_name);
	dlclose(l);
	return 0;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/library"
)

// Env is the environment variable that names the libraries to open: a folder with libcublas
// and libcublasLt, or the file of libcublas.
const Env = library.EnvCuBLAS

var load struct {
	once sync.Once
	err  error
}

// Load finds and opens cublasLt and cuBLAS, once per process. The error lists where it
// searched. Call driver.Load first, so that Load skips versions for which the driver is too
// old.
func Load() error {
	load.once.Do(func() { load.err = open() })
	return load.err
}

// Library returns the file that was opened as cuBLAS.
func Library() string {
	var path [4096]C.char
	C.blas_path(&path[0], C.size_t(len(path)))
	return C.GoString(&path[0])
}

// Version returns the version of cuBLAS, such as 12.4.5.
func Version() string {
	v := int(C.blas_version())
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

func open() error {
	newest := library.Newest(driver.CUDA())
	if p := os.Getenv(Env); p != "" {
		if err := openNamed(p, newest); err != nil {
			return fmt.Errorf("cuBLAS: %s=%s: %w", Env, p, err)
		}
		return nil
	}
	return search(library.Local(), newest)
}

// openNamed opens the folder or file that Env names.
func openNamed(path string, newest int) error {
	var err error
	var pairs []library.Pair
	if s, stat := os.Stat(path); stat != nil || !s.IsDir() {
		err = openPair(library.PairOf(path))
	} else if pairs, err = library.Pairs(path, newest); err == nil {
		err = openFirst(pairs)
	}
	if err != nil {
		return fmt.Errorf("%w; name a folder with libcublas.so.N and libcublasLt.so.N, N from %d to %d, or unset %s", err, library.Oldest, newest, Env)
	}
	return nil
}

// search opens cuBLAS from the first folder in which it is usable.
func search(m library.Machine, newest int) error {
	var attempts library.Attempts
	for folder, err := range m.CuBLAS() {
		switch {
		case err != nil: // from Python
		case folder == "":
			folder = "the system's libraries"
			err = openLinked(newest)
		default:
			var pairs []library.Pair
			if pairs, err = library.Pairs(folder, newest); err == nil {
				err = openFirst(pairs)
			}
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, library.ErrNone):
			attempts.Empty(folder)
		case errors.Is(err, fs.ErrNotExist):
			attempts.Missing()
		default:
			attempts.Failed(err.Error())
		}
	}
	return fmt.Errorf("cuBLAS %d to %d was not found: install NVIDIA's library (`pip install %s` or the package libcublas), "+
		"or name its folder in %s; searched: %s", library.Oldest, newest, library.Package(newest), Env, &attempts)
}

// openLinked opens the newest cublasLt that ld.so finds, with cuBLAS from the
// same folder.
func openLinked(newest int) error {
	err := library.ErrNone
	for v := newest; v >= library.Oldest; v-- {
		name := library.PairIn("", v).Lt
		file, failure := find(name)
		if failure == nil {
			if failure = openPair(library.PairIn(filepath.Dir(file), v)); failure == nil {
				return nil
			}
		} else if strings.HasPrefix(failure.Error(), name+": ") {
			continue // it does not exist
		}
		if errors.Is(err, library.ErrNone) {
			err = failure
		}
	}
	return err
}

// find returns the file that ld.so opens for a name.
func find(name string) (string, error) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	var text [4096]C.char
	if C.find(n, &text[0], C.size_t(len(text))) != 0 {
		return "", errors.New(C.GoString(&text[0]))
	}
	return C.GoString(&text[0]), nil
}

// openFirst opens the first pair that is usable. The error is that of the first.
func openFirst(pairs []library.Pair) error {
	var first error
	for _, p := range pairs {
		err := openPair(p)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func openPair(p library.Pair) error {
	for _, f := range []string{p.Lt, p.BLAS} {
		if err := library.Check(f); err != nil {
			return err
		}
	}
	lt, blas := C.CString(p.Lt), C.CString(p.BLAS)
	defer C.free(unsafe.Pointer(lt))
	defer C.free(unsafe.Pointer(blas))
	var text [512]C.char
	if C.blas_open(lt, blas, &text[0], C.size_t(len(text))) != 0 {
		return errors.New(C.GoString(&text[0]))
	}
	return nil
}
