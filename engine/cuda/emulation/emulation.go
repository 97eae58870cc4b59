// Package emulation runs CUDA programs on the CPU, for tests: kernel sources
// compiled by g++, and stand-ins for NVIDIA's libraries (driver, cuBLAS,
// cublasLt, NVML) that packages driver, blas and nvml load instead.
//
// A test of a kernel has the tag gpu. It starts the emulation, opens a device, or better
// uses one that tests share ([Shared]), and launches:
//
//	//go:build gpu
//
//	func TestScale(t *testing.T) {
//		emulation.Start(t, "all.cu") // relative to the test's folder
//		d, err := driver.Open(0)
//		...
//		defer d.Close()
//		err = d.Do(func(c *driver.Context) error {
//			m, err := c.Module(emulation.Image(ptx))
//			...
//			f, err := m.Function("scale_f32")
//			s, err := c.Stream()
//			p, err := c.Alloc(4 * n)
//			err = driver.Upload(s, p, values)
//			err = s.Launch(f, [3]uint32{blocks, 1, 1}, [3]uint32{256, 1, 1}, 0,
//				[]uint64{uint64(p), uint64(n), uint64(math.Float32bits(factor))})
//			return driver.Download(s, values, p)
//		})
//		...
//	}
//
// Command emulate, in a subfolder, runs any program with the emulation.
//
// The same test runs on a real card with HATCHERY_TEST_GPU=1: Start then does
// nothing, and Image is the real PTX.
//
// A kernel's source includes ptx.cuh of package kernels, takes dynamic shared
// memory by DYNAMIC_SHARED(T, name), and is followed by EMULATED(name), which
// the real compiler ignores:
//
//	extern "C" __global__ void __launch_bounds__(256) scale_f32(float *x, int n, float factor) {...}
//	EMULATED(scale_f32)
//
// Tests find these errors: wrong arithmetic and indexing; threads of a block
// that read each other's shared memory without a barrier, copies by cp.async
// without a wait, streams that do not wait for each other, host memory
// that is used too early (run once more with HATCHERY_EMULATION_ORDER=backward,
// which runs threads and independent nodes of graphs in the opposite order,
// asynchronous copies at once rather than when they are waited for, and fills
// static shared memory with NaN before each block); barriers that not all
// threads reach; calls that a capture does not allow; calls on a thread that the
// device is not current on, such as that of a subtest begun within Device.Do; a
// host that polls for an event; reads of uninitialised memory, which contains
// NaN; reads and writes out of bounds, with the script sanitize in this folder.
// They do not find races within code without a barrier, bank conflicts, errors of
// the device's approximate functions (exact here; see package rounding), or anything
// about speed: the times of events are fixed.
//
// Environment variables that tests set, read at each call: HATCHERY_EMULATION_ORDER,
// HATCHERY_EMULATION_MEMORY (bytes of the device, 8 GiB), HATCHERY_EMULATION_DEVICES
// (1), HATCHERY_EMULATION_EPILOGUES=none (cublasLt has no kernels with
// epilogues), HATCHERY_EMULATION_ALGORITHMS (the number of algorithms that cublasLt
// lists, 1), HATCHERY_EMULATION_TIMES (the times of work: see src/driver.cc and
// src/blas.cc), HATCHERY_EMULATION_FAULT (a kernel that fails),
// HATCHERY_EMULATION_INIT (the result of cuInit).
package emulation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hatchery/engine/cuda/library"
)

//go:embed src
var sources embed.FS

// variables are the environment variables in which packages driver, blas and nvml look for
// libraries.
var variables = []string{library.EnvCUDA, library.EnvCuBLAS, library.EnvNVML}

const kernelsVariable = "HATCHERY_EMULATED_KERNELS"

// OnCard reports whether tests run on a real card instead of the emulation.
func OnCard() bool { return os.Getenv("HATCHERY_TEST_GPU") != "" }

// Image returns the module to load: ptx on a real card, otherwise a word that stands for the
// compiled sources. A test that PTX and sources agree loads the PTX itself: the stand-in
// driver then compares the names and parameters of kernels and applies their limits.
func Image(ptx []byte) []byte {
	if OnCard() {
		return ptx
	}
	return []byte("emulation")
}

var started struct {
	sync.Mutex
	libraries map[string]string // the library of kernels for each source
}

// Start builds the stand-in libraries and the kernels of the given .cu files, which may
// include files of their folder, and makes this process use them. Builds are kept in the
// user's cache folder. Without g++ it skips the test, or with CI=true fails it.
func Start(t testing.TB, kernels ...string) {
	t.Helper()
	if OnCard() {
		return
	}
	if _, err := exec.LookPath("g++"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the emulation of CUDA needs g++")
		}
		t.Skip("no g++, which the emulation of CUDA needs")
	}
	// Reading the variable tells `go test` that cached results depend on it. The
	// libraries read it with C's getenv, which `go test` does not notice.
	os.Getenv("HATCHERY_EMULATION_ORDER")
	if err := Use(t.Context(), kernels...); err != nil {
		t.Fatal(err)
	}
}

// Use is like Start, for a program that is not a test. It sets variables in the environment
// of this process, which child processes inherit.
func Use(ctx context.Context, kernels ...string) error {
	started.Lock()
	defer started.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("emulation: the folder for builds: %w", err)
	}
	cache = filepath.Join(cache, "hatchery", "emulation")
	if started.libraries == nil {
		libraries, err := standIns(ctx, cache)
		if err != nil {
			return err
		}
		for _, v := range variables {
			if err := os.Setenv(v, libraries); err != nil {
				return err
			}
		}
		started.libraries = map[string]string{}
	}
	for _, k := range kernels {
		path, err := filepath.Abs(k)
		if err != nil {
			return err
		}
		if started.libraries[path] != "" {
			continue
		}
		library, err := compile(ctx, cache, path)
		if err != nil {
			return err
		}
		started.libraries[path] = library
		list := []string{library}
		if before := os.Getenv(kernelsVariable); before != "" {
			list = append(list, before)
		}
		if err := os.Setenv(kernelsVariable, strings.Join(list, ":")); err != nil {
			return err
		}
	}
	return nil
}

// standIns builds the library with the stand-ins for all of NVIDIA's libraries.
func standIns(ctx context.Context, cache string) (string, error) {
	return build(ctx, cache, "nvidia", nil, func(src string) []string {
		var args []string
		for _, f := range []string{"driver.cc", "blas.cc", "nvml.cc"} {
			args = append(args, filepath.Join(src, f))
		}
		return append(args, "-ldl", "-pthread")
	})
}

// compile builds the library of emulated kernels of one .cu file. The fibers are in a separate
// library, so that this one contains only the kernels' variables.
func compile(ctx context.Context, cache, path string) (string, error) {
	fibers, err := build(ctx, cache, "fibers", nil, func(src string) []string {
		return []string{"-fvisibility=default", filepath.Join(src, "fibers.cc")}
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	files, err := filepath.Glob(filepath.Join(dir, "*.cu*")) // it may include any of them
	if err != nil {
		return "", err
	}
	name := strings.TrimSuffix(filepath.Base(path), ".cu")
	return build(ctx, cache, name, append(files, path), func(src string) []string {
		return []string{"-include", filepath.Join(src, "emulated.h"), "-I", dir, "-I", src, "-x", "c++", path, "-x", "none", fibers}
	})
}

// build makes cache/name-hash.so unless it exists. The hash covers the package's sources, the
// other files, the flags and the compiler's version. The file is renamed into place, so that
// tests of several packages may build it at the same time.
func build(ctx context.Context, cache, name string, files []string, args func(src string) []string) (string, error) {
	flags := []string{"-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off",
		"-Wall", "-Wextra", "-Werror=return-type", "-Wno-unknown-pragmas", "-Wno-unused-parameter", "-Wno-unused-function"}
	if os.Getenv("HATCHERY_SANITIZE") != "" {
		flags = append(flags, "-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")
	}
	h := sha256.New()
	fmt.Fprintln(h, flags)
	query := exec.CommandContext(ctx, "g++", "--version")
	query.Env = append(os.Environ(), "LD_PRELOAD=")
	version, err := query.Output()
	if err != nil {
		return "", fmt.Errorf("emulation: g++: %w", err)
	}
	h.Write(version)
	embedded, err := fs.Glob(sources, "src/*")
	if err != nil {
		return "", err
	}
	for _, f := range embedded {
		b, err := sources.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, f, len(b))
		h.Write(b)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", fmt.Errorf("emulation: %w", err)
		}
		fmt.Fprintln(h, filepath.Base(f), len(b)) // the folder does not matter
		h.Write(b)
	}
	library := filepath.Join(cache, name+"-"+hex.EncodeToString(h.Sum(nil)[:8])+".so")
	if _, err := os.Stat(library); err == nil {
		return library, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("emulation: %w", err)
	}
	work, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", fmt.Errorf("emulation: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, sources); err != nil {
		return "", fmt.Errorf("emulation: %w", err)
	}
	out := filepath.Join(work, "out.so")
	cmd := exec.CommandContext(ctx, "g++", append(append(flags, "-o", out), args(filepath.Join(work, "src"))...)...)
	cmd.Env = append(os.Environ(), "LD_PRELOAD=") // the script sanitize preloads a runtime for the test only
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("emulation: g++ of %s: %w\n%s", name, err, output.String())
	}
	if err := os.Rename(out, library); err != nil {
		return "", fmt.Errorf("emulation: %w", err)
	}
	return library, nil
}
