package library

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The versions of cuBLAS that package blas knows how to call.
const (
	Oldest = 11
	newest = 13
)

// Newest returns the newest version of cuBLAS to try with a driver for a version of
// CUDA, as cuDriverGetVersion returns it (12040), or 0 if there is no driver. A version of
// cuBLAS needs a driver of the same or a newer major version.
func Newest(cuda int) int {
	if cuda == 0 {
		return newest
	}
	return max(Oldest, min(newest, cuda/1000))
}

// Package returns the name of the Python package of a version of cuBLAS.
func Package(version int) string {
	if version >= 13 {
		return "nvidia-cublas"
	}
	return fmt.Sprintf("nvidia-cublas-cu%d", version)
}

// Pair holds the files of cuBLAS and of the cublasLt that belongs to it.
type Pair struct{ Lt, BLAS string }

// PairIn returns the pair of a version in a folder.
func PairIn(folder string, version int) Pair {
	return Pair{
		Lt:   filepath.Join(folder, fmt.Sprintf("libcublasLt.so.%d", version)),
		BLAS: filepath.Join(folder, fmt.Sprintf("libcublas.so.%d", version)),
	}
}

// PairOf returns the pair with the given file as cuBLAS. cublasLt is in the same folder, or is
// the file itself if there is none.
func PairOf(file string) Pair {
	folder, name := filepath.Split(file)
	lt := folder + strings.Replace(name, "libcublas.so", "libcublasLt.so", 1)
	if _, err := os.Stat(lt); err != nil {
		lt = file
	}
	return Pair{Lt: lt, BLAS: file}
}

// ErrNone means that a folder contains neither cuBLAS nor cublasLt.
var ErrNone = errors.New("no cuBLAS here")

// Pairs returns the pairs in a folder, from version newest down. The error is fs.ErrNotExist
// if the folder does not exist, ErrNone if it has no cuBLAS, and otherwise says why the
// libraries in it are not usable.
func Pairs(folder string, newest int) ([]Pair, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, syscall.ENOTDIR) { // a package path of Python may be an archive
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	var pairs []Pair
	var incomplete error
	for v := newest; v >= Oldest; v-- {
		p := PairIn(folder, v)
		lt, blas := names[filepath.Base(p.Lt)], names[filepath.Base(p.BLAS)]
		switch {
		case lt && blas:
			pairs = append(pairs, p)
		case lt:
			incomplete = fmt.Errorf("%s is not beside %s", filepath.Base(p.BLAS), p.Lt)
		case blas:
			incomplete = fmt.Errorf("%s is not beside %s", filepath.Base(p.Lt), p.BLAS)
		}
	}
	switch {
	case len(pairs) > 0:
		return pairs, nil
	case incomplete != nil:
		return nil, incomplete
	}
	for _, e := range entries {
		version, ok := strings.CutPrefix(e.Name(), "libcublas.so.")
		if _, err := strconv.Atoi(version); ok && err == nil {
			return nil, fmt.Errorf("%s is not usable: with this driver, hatchery supports versions %d to %d", filepath.Join(folder, e.Name()), Oldest, newest)
		}
	}
	return nil, ErrNone
}

// CuBLAS yields the folders in which cuBLAS may be, in order, each once; the folder ""
// stands for those of ld.so. Folders from environment variables come first, then those of
// programs in PATH, then the usual folders of the machine. Only after all of these does it
// run Python to ask where its packages are. If that fails, it yields the error last, without
// a folder.
func (m Machine) CuBLAS() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		seen := map[string]bool{}
		offer := func(folders []string) bool {
			for _, f := range folders {
				key := f
				if resolved, err := filepath.EvalSymlinks(f); err == nil {
					key = resolved
				}
				if seen[key] {
					continue
				}
				seen[key] = true
				if !yield(f, nil) {
					return false
				}
			}
			return true
		}
		for _, folders := range []func() []string{m.variables, m.pythons, m.linker, m.compilers, m.toolkits, m.installed} {
			if !offer(folders()) {
				return
			}
		}
		packages, err := m.packageFolders()
		for _, p := range packages {
			if !offer(wheels(p)) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// variables returns the folders from environment variables.
func (m Machine) variables() []string {
	var folders []string
	for _, v := range toolkitVariables {
		if p := m.Getenv(v); p != "" {
			folders = append(folders, m.toolkit(p)...)
		}
	}
	for _, p := range m.list(packagesPath) {
		folders = append(folders, wheels(p)...)
	}
	for _, v := range pythonVariables {
		if p := m.Getenv(v); p != "" {
			folders = append(folders, m.python(p)...)
		}
	}
	return folders
}

// pythons returns the folders of each Python in PATH. In a virtual environment it is a link
// to another Python, whose folders are included.
func (m Machine) pythons() []string {
	var folders []string
	for _, p := range m.prefixes("python3", "python") {
		folders = append(folders, m.python(p)...)
	}
	return folders
}

// linker returns the folders of LD_LIBRARY_PATH, so that both libraries come from the same
// one, and then "" for those of ld.so.
func (m Machine) linker() []string { return append(m.list(linkerPath), "") }

// compilers returns the folders of toolkits whose compiler is in PATH.
func (m Machine) compilers() []string {
	var folders []string
	for _, p := range m.prefixes("nvcc") {
		folders = append(folders, m.toolkit(p)...)
	}
	return folders
}

// toolkits returns the folders of toolkits in their usual locations.
func (m Machine) toolkits() []string {
	local := filepath.Join(m.Root, "usr/local")
	var folders []string
	for _, p := range append([]string{filepath.Join(local, "cuda")}, children(local, "cuda-*")...) {
		folders = append(folders, m.toolkit(p)...)
	}
	for _, system := range children(filepath.Join(m.Root, "opt/nvidia/hpc_sdk"), "Linux_*") {
		for _, release := range children(system, "*") {
			for _, version := range children(filepath.Join(release, "math_libs"), "*") {
				folders = append(folders, filepath.Join(version, "lib64"))
			}
			for _, version := range children(filepath.Join(release, "cuda"), "*") {
				folders = append(folders, filepath.Join(version, "lib64"))
			}
		}
	}
	for _, p := range []string{"opt/cuda", "opt/nvidia/cuda"} {
		folders = append(folders, m.toolkit(filepath.Join(m.Root, p))...)
	}
	return folders
}

// installed returns the folders of Pythons in their usual locations.
func (m Machine) installed() []string {
	var prefixes []string
	if m.Home != "" {
		prefixes = append(prefixes, filepath.Join(m.Home, ".local"))
	}
	prefixes = append(prefixes, filepath.Join(m.Root, "usr/local"), filepath.Join(m.Root, "usr"))
	for _, p := range children(filepath.Join(m.Root, "opt"), "*") { // /opt/conda among them
		prefixes = append(prefixes, p, filepath.Join(p, ".venv"), filepath.Join(p, "venv"))
	}
	if m.Home != "" {
		for _, name := range []string{"miniconda3", "miniforge3", "anaconda3"} {
			prefixes = append(prefixes, filepath.Join(m.Home, name))
		}
	}
	var folders []string
	for _, p := range prefixes {
		folders = append(folders, m.python(p)...)
	}
	return folders
}

// toolkit returns the folders of libraries in a CUDA toolkit.
func (m Machine) toolkit(prefix string) []string {
	folders := []string{filepath.Join(prefix, "lib64"), filepath.Join(prefix, "lib")}
	for _, t := range m.targets() {
		folders = append(folders, filepath.Join(prefix, "targets", t, "lib"))
	}
	return folders
}

// targets returns the names of this machine's architecture in a toolkit.
func (m Machine) targets() []string {
	if m.Arch == "arm64" {
		return []string{"sbsa-linux", "aarch64-linux"}
	}
	return []string{"x86_64-linux"}
}

// python returns the folders of a Python: those of its packages, then its own, in which conda
// installs libraries.
func (m Machine) python(prefix string) []string {
	var folders []string
	for _, lib := range []string{"lib", "lib64"} {
		for _, version := range children(filepath.Join(prefix, lib), "python3*") {
			for _, packages := range []string{"site-packages", "dist-packages"} {
				folders = append(folders, wheels(filepath.Join(version, packages))...)
			}
		}
	}
	folders = append(folders, filepath.Join(prefix, "lib"))
	for _, t := range m.targets() {
		folders = append(folders, filepath.Join(prefix, "targets", t, "lib"))
	}
	return folders
}

// wheels returns the folders of libraries among a Python's packages: NVIDIA's common one for
// CUDA 13 and newer, that of cuBLAS for 11 and 12, and that of PyTorch, which used to include
// cuBLAS. The folder of the packages comes last, so that an error shows that this Python was
// searched.
func wheels(packages string) []string {
	var folders []string
	for _, p := range children(filepath.Join(packages, "nvidia"), "cu[0-9]*") {
		folders = append(folders, filepath.Join(p, "lib"))
	}
	return append(folders, filepath.Join(packages, "nvidia", "cublas", "lib"), filepath.Join(packages, "torch", "lib"), packages)
}

// prefixes returns, for programs in PATH with one of the names, the parents of their bin
// folders, also of those to which links lead.
func (m Machine) prefixes(names ...string) []string {
	var found []string
	for _, folder := range m.list(searchPath) {
		for _, name := range names {
			file := filepath.Join(folder, name)
			if _, err := os.Stat(file); err != nil {
				continue
			}
			for range 40 { // Linux follows at most 40 links
				found = append(found, filepath.Dir(filepath.Dir(file)))
				next, err := os.Readlink(file)
				if err != nil {
					break
				}
				if !filepath.IsAbs(next) {
					next = filepath.Join(filepath.Dir(file), next)
				}
				file = next
			}
			if resolved, err := filepath.EvalSymlinks(file); err == nil { // folders may be links as well
				found = append(found, filepath.Dir(filepath.Dir(resolved)))
			}
		}
	}
	return found
}

// children returns the entries of a folder whose names match a pattern, the newest version
// first.
func children(folder, pattern string) []string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil // it does not exist or may not be read
	}
	var names []string
	for _, e := range entries {
		if ok, _ := filepath.Match(pattern, e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return compareVersions(b, a) })
	for i, n := range names {
		names[i] = filepath.Join(folder, n)
	}
	return names
}
