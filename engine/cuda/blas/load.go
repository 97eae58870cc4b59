//go:build gpu

package blas

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "calls.h"
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"hatchery/engine/cuda/driver"
)

// Env names a folder that holds libcublas and libcublasLt, or libcublas itself,
// to open instead of what the machine has.
const Env = "HATCHERY_CUBLAS"

var load struct {
	once sync.Once
	err  error
}

// Load finds and opens cublasLt and cuBLAS, once for the process. The error
// lists where it looked. driver.Load should have come before: versions that the
// driver is too old for are passed over.
func Load() error {
	load.once.Do(func() { load.err = open() })
	return load.err
}

// Library is the file that was opened.
func Library() string {
	var path [4096]C.char
	C.blas_path(&path[0], C.size_t(len(path)))
	return C.GoString(&path[0])
}

// Version is the version of cuBLAS, such as 12.4.5.
func Version() string {
	v := int(C.blas_version())
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

func open() error {
	majors := majors()
	if p := os.Getenv(Env); p != "" {
		if s, err := os.Stat(p); err == nil && s.IsDir() {
			return openFirst([]string{p}, majors, fmt.Sprintf("%s=%s", Env, p))
		}
		if err := openPair(beside(p), p); err != nil {
			return fmt.Errorf("cuBLAS: %s=%s: %w", Env, p, err)
		}
		return nil
	}
	return openFirst(folders(), majors, "")
}

// majors are the versions to try, newest first. A version of cuBLAS needs a
// driver for CUDA of the same major version or newer.
func majors() []int {
	newest := 13
	if v := driver.CUDA(); v != 0 {
		newest = min(newest, v/1000)
	}
	var m []int
	for v := newest; v >= 11; v-- {
		m = append(m, v)
	}
	return m
}

// beside is cublasLt for a file of cuBLAS: its neighbour, or the file itself
// where there is none.
func beside(path string) string {
	dir, name := filepath.Split(path)
	if lt := dir + strings.Replace(name, "libcublas.so", "libcublasLt.so", 1); lt != path {
		if _, err := os.Stat(lt); err == nil {
			return lt
		}
	}
	return path
}

// folders lists where cuBLAS may be, in order. The empty one stands for
// ld.so's: LD_LIBRARY_PATH, then its cache.
func folders() []string {
	var f []string
	for _, v := range []string{"CUDA_HOME", "CUDA_PATH"} {
		if p := os.Getenv(v); p != "" {
			f = append(f, filepath.Join(p, "lib64"), filepath.Join(p, "lib"))
		}
	}
	for _, v := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if p := os.Getenv(v); p != "" {
			f = append(f, wheels(filepath.Join(p, "lib", "python3*", "site-packages"))...)
			f = append(f, filepath.Join(p, "lib"))
		}
	}
	f = append(f, "", "/usr/local/cuda/lib64")
	f = append(f, glob("/usr/local/cuda-1*/lib64")...)
	if home, err := os.UserHomeDir(); err == nil {
		f = append(f, wheels(filepath.Join(home, ".local/lib/python3*/site-packages"))...)
	}
	f = append(f, wheels("/usr/local/lib/python3*/*-packages")...)
	f = append(f, wheels("/usr/lib/python3*/*-packages")...)
	f = append(f, wheels("/opt/*/lib/python3*/site-packages")...)
	return append(f, "/opt/nvidia/cuda/lib64")
}

// wheels lists the folders of libraries of NVIDIA's Python packages:
// nvidia/cublas/lib for CUDA 11 and 12, nvidia/cu13/lib for 13.
func wheels(packages string) []string {
	return append(glob(filepath.Join(packages, "nvidia", "cu[0-9]*", "lib")), glob(filepath.Join(packages, "nvidia", "cublas", "lib"))...)
}

// glob is filepath.Glob with the last match, that of the newest version, first.
func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

// openFirst opens the first pair that can be opened.
func openFirst(folders []string, majors []int, only string) error {
	var tried []string
	for _, dir := range folders {
		if dir != "" {
			if s, err := os.Stat(dir); err != nil || !s.IsDir() {
				continue
			}
		}
		var why error
		for _, major := range majors {
			lt, blas := fmt.Sprintf("libcublasLt.so.%d", major), fmt.Sprintf("libcublas.so.%d", major)
			if dir != "" {
				lt, blas = filepath.Join(dir, lt), filepath.Join(dir, blas)
				if _, err := os.Stat(lt); err != nil {
					continue
				}
			}
			err := openPair(lt, blas)
			if err == nil {
				return nil
			}
			if why == nil || !strings.Contains(err.Error(), "No such file") {
				why = err
			}
		}
		switch {
		case why != nil && dir == "":
			tried = append(tried, fmt.Sprintf("the system's libraries (%v)", why))
		case why != nil:
			tried = append(tried, fmt.Sprintf("%s (%v)", dir, why))
		default:
			tried = append(tried, dir)
		}
	}
	if only != "" {
		return fmt.Errorf("cuBLAS: %s holds no libcublasLt.so.%d to %d", only, majors[len(majors)-1], majors[0])
	}
	return fmt.Errorf("cuBLAS %d to %d was not found; looked in %s; install NVIDIA's library (`pip install nvidia-cublas-cu%d` "+
		"or the package libcublas) or name its folder in %s", majors[len(majors)-1], majors[0], strings.Join(tried, ", "), min(12, majors[0]), Env)
}

func openPair(lt, blas string) error {
	l, b := C.CString(lt), C.CString(blas)
	defer C.free(unsafe.Pointer(l))
	defer C.free(unsafe.Pointer(b))
	var why [512]C.char
	if C.blas_open(l, b, &why[0], C.size_t(len(why))) != 0 {
		return fmt.Errorf("%s", C.GoString(&why[0]))
	}
	return nil
}
