// Package library lists where NVIDIA's libraries may be on a machine: the driver's libcuda,
// NVML, and cuBLAS, which comes with toolkits, with Python packages and with Linux
// distributions. It opens none of them: packages driver, nvml and blas try the listed files
// in order and use the first that works.
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

// Environment variables that name the libraries to open.
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

// Environment variables of other programs that help to find libraries.
var (
	toolkitVariables = []string{"CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"}
	pythonVariables  = []string{"VIRTUAL_ENV", "CONDA_PREFIX"}
)

const (
	searchPath   = "PATH"
	linkerPath   = "LD_LIBRARY_PATH"
	packagesPath = "PYTHONPATH"
)

// Variables returns the environment variables on which the search depends. A process that
// should find the same libraries needs the same values.
func Variables() []string {
	v := []string{EnvCUDA, EnvNVML, EnvCuBLAS, searchPath, linkerPath, packagesPath}
	return append(append(v, toolkitVariables...), pythonVariables...)
}

// Machine determines where to search for libraries.
type Machine struct {
	Getenv        func(string) string
	Home          string        // the user's home folder, or ""
	Arch          string        // a GOARCH
	Root          string        // prefix of fixed paths such as /usr/local/cuda; "" except in tests
	PythonTimeout time.Duration // for asking Python where its packages are
}

// Local returns this machine, with the environment of this process.
func Local() Machine {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return Machine{Getenv: os.Getenv, Home: home, Arch: runtime.GOARCH, PythonTimeout: 5 * time.Second}
}

// CUDA returns the files that may be the driver's library. ld.so finds those without a
// folder.
func (m Machine) CUDA() []string {
	if p := m.Getenv(EnvCUDA); p != "" {
		return []string{p}
	}
	return m.driver(cuda)
}

// NVML returns the files that may be the driver's management library. driver is the file
// that was opened as the driver's library, or "". The first result is in its folder, since
// both must have the same version.
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

// driver returns the files that may be a library of the driver.
func (m Machine) driver(name string) []string {
	files := []string{name}
	for _, folder := range []string{
		"/usr/local/nvidia/lib64", // containers
		"/usr/lib/wsl/lib",        // Windows
		"/run/opengl-driver/lib",  // NixOS
		"/usr/lib64-nvidia",       // notebooks in a cloud
		"/usr/local/cuda/compat",  // forward compatibility
		// For systems where ld.so has no cache:
		"/usr/lib/" + m.cpu() + "-linux-gnu",
		"/usr/lib64",
		"/usr/lib/" + m.cpu() + "-linux-gnu/tegra",
	} {
		files = append(files, filepath.Join(m.Root, folder, name))
	}
	return files
}

// cpu returns the name of the CPU's architecture in the names of folders.
func (m Machine) cpu() string {
	if m.Arch == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

// list splits a variable such as PATH. It leaves out relative entries, whose meaning depends
// on the working folder.
func (m Machine) list(variable string) []string {
	var folders []string
	for _, f := range filepath.SplitList(m.Getenv(variable)) {
		if filepath.IsAbs(f) {
			folders = append(folders, filepath.Clean(f))
		}
	}
	return folders
}

// Check returns an error if a file cannot be a library: it does not exist (fs.ErrNotExist),
// or it is not a regular file, such as a pipe, on which ld.so would block. It does not check
// names without a folder, which ld.so finds.
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
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}
