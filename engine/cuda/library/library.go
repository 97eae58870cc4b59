// Package library says where NVIDIA's libraries may be on a machine: the
// driver's libcuda, NVML, and cuBLAS, which comes with toolkits, with Python
// packages and with Linux distributions. It opens nothing: packages driver, nvml
// and blas try what it lists, in order, and take the first that works.
package library

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Environment variables that name what to open, whatever the machine has.
const (
	EnvCUDA   = "HATCHERY_LIBCUDA" // a file
	EnvNVML   = "HATCHERY_LIBNVML" // a file
	EnvCuBLAS = "HATCHERY_CUBLAS"  // a file, or a folder with cuBLAS and cublasLt
)

// The driver's libraries have the same names in every version.
const (
	cuda = "libcuda.so.1"
	nvml = "libnvidia-ml.so.1"
)

// Environment variables of other programs that lead to libraries.
var (
	toolkitVariables = []string{"CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"}
	pythonVariables  = []string{"VIRTUAL_ENV", "CONDA_PREFIX"}
)

const (
	searchPath   = "PATH"
	linkerPath   = "LD_LIBRARY_PATH"
	packagesPath = "PYTHONPATH"
)

// Variables lists the environment variables that the search depends on: a
// process that is to find the same libraries elsewhere needs them too.
func Variables() []string {
	v := []string{EnvCUDA, EnvNVML, EnvCuBLAS, searchPath, linkerPath, packagesPath}
	return append(append(v, toolkitVariables...), pythonVariables...)
}

// Machine is what decides where libraries are looked for.
type Machine struct {
	Getenv       func(string) string
	Home         string        // the user's folder, "" where there is none
	Arch         string        // a GOARCH
	Root         string        // comes before fixed paths such as /usr/local/cuda; "" except in tests
	AnswerWithin time.Duration // how long Python may take to say where its packages are
}

// This returns the machine and the environment of this process.
func This() Machine {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return Machine{Getenv: os.Getenv, Home: home, Arch: runtime.GOARCH, AnswerWithin: 5 * time.Second}
}

// CUDA lists the files that may be the driver's library. A name without a
// folder is for ld.so to find.
func (m Machine) CUDA() []string {
	if p := m.Getenv(EnvCUDA); p != "" {
		return []string{p}
	}
	return m.driver(cuda)
}

// NVML lists the files that may be the driver's management library: first the
// one beside the driver's library, the file that was opened for it ("" if none
// was), since the two only work together in the same version.
func (m Machine) NVML(driver string) []string {
	if p := m.Getenv(EnvNVML); p != "" {
		return []string{p}
	}
	files := m.driver(nvml)
	if filepath.IsAbs(driver) {
		files = append([]string{filepath.Join(filepath.Dir(driver), nvml)}, files...)
	}
	return files
}

// driver lists where a library of the driver may be.
func (m Machine) driver(name string) []string {
	files := []string{name}
	for _, folder := range []string{
		"/usr/local/nvidia/lib64", // containers
		"/usr/lib/wsl/lib",        // Windows
		"/run/opengl-driver/lib",  // NixOS
		"/usr/lib64-nvidia",       // notebooks in a cloud
		"/usr/local/cuda/compat",  // forward compatibility
		// Where ld.so has no cache of them:
		"/usr/lib/" + m.cpu() + "-linux-gnu",
		"/usr/lib64",
		"/usr/lib/" + m.cpu() + "-linux-gnu/tegra",
	} {
		files = append(files, filepath.Join(m.Root, folder, name))
	}
	return files
}

// cpu returns the processor's name in the names of folders.
func (m Machine) cpu() string {
	if m.Arch == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

// list splits a variable such as PATH. A relative entry is left out: what it
// leads to changes with the working folder.
func (m Machine) list(variable string) []string {
	var folders []string
	for _, f := range filepath.SplitList(m.Getenv(variable)) {
		if filepath.IsAbs(f) {
			folders = append(folders, filepath.Clean(f))
		}
	}
	return folders
}

// Check says why a file cannot be a library, before ld.so opens it: it is not
// there (fs.ErrNotExist), or it is something like a pipe, which ld.so would wait
// for. A name without a folder is for ld.so to find.
func Check(path string) error {
	if !strings.ContainsRune(path, filepath.Separator) {
		return nil
	}
	info, err := os.Stat(path)
	var failed *fs.PathError
	switch {
	case errors.As(err, &failed):
		return fmt.Errorf("%s: %w", path, failed.Err)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	}
	return nil
}
