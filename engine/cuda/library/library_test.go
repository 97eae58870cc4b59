package library

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newMachine returns a machine below a temporary folder with only the given environment. @
// in the value of a variable stands for that folder.
func newMachine(t *testing.T, env map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	return Machine{
		Getenv:        func(name string) string { return strings.ReplaceAll(env[name], "@", root) },
		Home:          filepath.Join(root, "home/someone"),
		Arch:          "amd64",
		Root:          root,
		PythonTimeout: 10 * time.Second,
	}
}

// put makes files below the machine's root: "a/b" makes an empty file, "a/b -> c" a link,
// and "a/ VERSION" a folder with that version of cuBLAS and cublasLt.
func put(t *testing.T, m Machine, files ...string) {
	t.Helper()
	for _, f := range files {
		path, target, link := strings.Cut(f, " -> ")
		folder, version, pair := strings.Cut(f, "/ ")
		switch {
		case link:
			target = strings.ReplaceAll(target, "@", m.Root)
			path = filepath.Join(m.Root, path)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.Symlink(target, path))
		case pair:
			put(t, m, folder+"/libcublas.so."+version, folder+"/libcublasLt.so."+version)
		default:
			path = filepath.Join(m.Root, path)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, nil, 0o755))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// found returns the files of cuBLAS on a machine in the order of the search, relative to
// its root, and "ld.so" for the folders of ld.so. It ends the search after n files, if n
// is not 0.
func found(m Machine, n int) []string {
	var files []string
	for folder, err := range m.CuBLAS() {
		switch {
		case err != nil:
			files = append(files, err.Error())
		case folder == "":
			files = append(files, "ld.so")
		default:
			pairs, _ := Pairs(folder, newest)
			for _, p := range pairs {
				files = append(files, strings.TrimPrefix(p.BLAS, m.Root+"/"))
			}
		}
		if n > 0 && len(files) == n {
			break
		}
	}
	return files
}

// TestLayouts checks that cuBLAS is found first in the right folder of each layout.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		arch  string
		env   map[string]string
		files []string
		want  string
	}{
		{
			"a virtual environment whose python3 is in PATH", "", map[string]string{"PATH": "@/opt/torch/.venv/bin:@/usr/bin"},
			[]string{"opt/torch/.venv/pyvenv.cfg", "opt/torch/.venv/bin/python3 -> @/usr/bin/python3", "usr/bin/python3 -> python3.12", "usr/bin/python3.12",
				"opt/torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/ 13", "usr/lib/python3/dist-packages/nvidia/cublas/lib/ 12"},
			"opt/torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13",
		}, {
			"the Python of a virtual environment that has none", "", map[string]string{"PATH": "@/venv/bin"},
			[]string{"venv/bin/python3 -> @/python/bin/python3.12", "python/bin/python3.12", "python/lib/python3.12/site-packages/nvidia/cublas/lib/ 12"},
			"python/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"a link to a virtual environment", "", map[string]string{"PATH": "@/home/someone/bin"},
			[]string{"home/someone/bin/python3 -> @/venv/bin/python", "venv/bin/python -> @/python/bin/python3.12", "python/bin/python3.12",
				"venv/lib/python3.12/site-packages/nvidia/cublas/lib/ 12"},
			"venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"a folder of PATH that is a link", "", map[string]string{"PATH": "@/bin"},
			[]string{"bin -> @/venv/bin", "venv/bin/python3", "venv/lib64/python3.12/site-packages/nvidia/cublas/lib/ 12"},
			"venv/lib64/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"a Python called python", "", map[string]string{"PATH": "@/nowhere:@/conda/bin"},
			[]string{"conda/bin/python", "conda/lib/ 12"},
			"conda/lib/libcublas.so.12",
		}, {
			"VIRTUAL_ENV", "", map[string]string{"VIRTUAL_ENV": "@/venv"},
			[]string{"venv/lib/python3.12/site-packages/nvidia/cublas/lib/ 12"},
			"venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"brackets in a name", "", map[string]string{"VIRTUAL_ENV": "@/[a]/venv"},
			[]string{"[a]/venv/lib/python3.12/site-packages/nvidia/cublas/lib/ 12"},
			"[a]/venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"CONDA_PREFIX", "", map[string]string{"CONDA_PREFIX": "@/conda"},
			[]string{"conda/lib/ 12"},
			"conda/lib/libcublas.so.12",
		}, {
			"CONDA_PREFIX, its toolkit", "", map[string]string{"CONDA_PREFIX": "@/conda"},
			[]string{"conda/targets/x86_64-linux/lib/ 13"},
			"conda/targets/x86_64-linux/lib/libcublas.so.13",
		}, {
			"the newest of the wheels", "", map[string]string{"VIRTUAL_ENV": "@/venv"},
			[]string{"venv/lib/python3.12/site-packages/torch/lib/ 11", "venv/lib/python3.12/site-packages/nvidia/cublas/lib/ 12",
				"venv/lib/python3.12/site-packages/nvidia/cu13/lib/ 13"},
			"venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13",
		}, {
			"PyTorch's own", "", map[string]string{"VIRTUAL_ENV": "@/venv"},
			[]string{"venv/lib/python3.9/site-packages/torch/lib/ 11"},
			"venv/lib/python3.9/site-packages/torch/lib/libcublas.so.11",
		}, {
			"the newest Python", "", map[string]string{"VIRTUAL_ENV": "@/venv"},
			[]string{"venv/lib/python3.9/site-packages/torch/lib/ 11", "venv/lib/python3.10/site-packages/nvidia/cublas/lib/ 12"},
			"venv/lib/python3.10/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"PYTHONPATH", "", map[string]string{"PYTHONPATH": "relative:@/a:@/packages"},
			[]string{"packages/nvidia/cublas/lib/ 12"},
			"packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"Debian's packages", "", nil,
			[]string{"usr/lib/python3/dist-packages/nvidia/cublas/lib/ 12"},
			"usr/lib/python3/dist-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"packages in /usr/local", "", nil,
			[]string{"usr/local/lib/python3.11/dist-packages/nvidia/cu13/lib/ 13"},
			"usr/local/lib/python3.11/dist-packages/nvidia/cu13/lib/libcublas.so.13",
		}, {
			"packages of the user", "", nil,
			[]string{"home/someone/.local/lib/python3.11/site-packages/nvidia/cu13/lib/ 13"},
			"home/someone/.local/lib/python3.11/site-packages/nvidia/cu13/lib/libcublas.so.13",
		}, {
			"conda of the user, not active", "", nil,
			[]string{"home/someone/miniforge3/lib/ 12"},
			"home/someone/miniforge3/lib/libcublas.so.12",
		}, {
			"conda in /opt, not active", "", nil,
			[]string{"opt/conda/lib/python3.11/site-packages/nvidia/cublas/lib/ 12"},
			"opt/conda/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12",
		}, {
			"a virtual environment in /opt, not active", "", nil,
			[]string{"opt/torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/ 13"},
			"opt/torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13",
		}, {
			"CUDA_HOME", "", map[string]string{"CUDA_HOME": "@/cuda"},
			[]string{"cuda/lib64/ 12"},
			"cuda/lib64/libcublas.so.12",
		}, {
			"CUDA_PATH with targets", "", map[string]string{"CUDA_PATH": "@/cuda"},
			[]string{"cuda/targets/x86_64-linux/lib/ 12", "cuda/targets/sbsa-linux/lib/ 12"},
			"cuda/targets/x86_64-linux/lib/libcublas.so.12",
		}, {
			"CUDA_ROOT with targets on ARM", "arm64", map[string]string{"CUDA_ROOT": "@/cuda"},
			[]string{"cuda/targets/x86_64-linux/lib/ 12", "cuda/targets/sbsa-linux/lib/ 12"},
			"cuda/targets/sbsa-linux/lib/libcublas.so.12",
		}, {
			"LD_LIBRARY_PATH", "", map[string]string{"LD_LIBRARY_PATH": "@/a:@/libraries"},
			[]string{"libraries/ 12", "a/libcublas.so.12"},
			"libraries/libcublas.so.12",
		}, {
			"nvcc in PATH, a link", "", map[string]string{"PATH": "@/usr/bin"},
			[]string{"usr/bin/nvcc -> @/etc/alternatives/nvcc", "etc/alternatives/nvcc -> @/apps/cuda/12.4/bin/nvcc", "apps/cuda/12.4/bin/nvcc", "apps/cuda/12.4/lib64/ 12"},
			"apps/cuda/12.4/lib64/libcublas.so.12",
		}, {
			"the newest toolkit", "", nil,
			[]string{"usr/local/cuda-12.9/lib64/ 12", "usr/local/cuda-12.10/lib64/ 12", "usr/local/cuda-9.0/lib64/ 9"},
			"usr/local/cuda-12.10/lib64/libcublas.so.12",
		}, {
			"a newer major version", "", nil,
			[]string{"usr/local/cuda-12.10/lib64/ 12", "usr/local/cuda-13/targets/x86_64-linux/lib/ 13"},
			"usr/local/cuda-13/targets/x86_64-linux/lib/libcublas.so.13",
		}, {
			"the toolkit that the machine has chosen", "", nil,
			[]string{"usr/local/cuda-12.9/lib64/ 12", "usr/local/cuda-12.10/lib64/ 12", "usr/local/cuda -> cuda-12.9"},
			"usr/local/cuda/lib64/libcublas.so.12",
		}, {
			"the HPC SDK", "", nil,
			[]string{"opt/nvidia/hpc_sdk/Linux_x86_64/24.9/math_libs/12.6/lib64/ 12", "opt/nvidia/hpc_sdk/Linux_x86_64/24.11/math_libs/11.8/lib64/ 11",
				"opt/nvidia/hpc_sdk/Linux_x86_64/24.11/math_libs/12.6/lib64/ 12"},
			"opt/nvidia/hpc_sdk/Linux_x86_64/24.11/math_libs/12.6/lib64/libcublas.so.12",
		}, {
			"the HPC SDK's toolkit", "", nil,
			[]string{"opt/nvidia/hpc_sdk/Linux_x86_64/25.1/cuda/12.6/lib64/ 12"},
			"opt/nvidia/hpc_sdk/Linux_x86_64/25.1/cuda/12.6/lib64/libcublas.so.12",
		}, {
			"Arch", "", nil,
			[]string{"opt/cuda/lib64/ 13"},
			"opt/cuda/lib64/libcublas.so.13",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.env)
			if c.arch != "" {
				m.Arch = c.arch
			}
			put(t, m, c.files...)
			files := found(m, 0)
			files = slices.DeleteFunc(files, func(f string) bool { return f == "ld.so" })
			if len(files) == 0 || files[0] != c.want {
				t.Errorf("found %q, want %s first", files, c.want)
			}
		})
	}
}

// TestOrder checks the order of the search on a machine with everything.
func TestOrder(t *testing.T) {
	m := newMachine(t, map[string]string{"CUDA_HOME": "@/home-cuda", "CUDA_PATH": "@/path-cuda", "PYTHONPATH": "@/pythonpath", "VIRTUAL_ENV": "@/active",
		"CONDA_PREFIX": "@/conda", "PATH": "@/first/bin:@/second/bin:@/compiler/bin:", "LD_LIBRARY_PATH": "@/linked"})
	put(t, m, "opt/venv/lib/python3.12/site-packages/nvidia/cublas/lib/ 12", "usr/lib/python3/dist-packages/nvidia/cublas/lib/ 12",
		"usr/local/lib/python3.12/dist-packages/nvidia/cublas/lib/ 12", "home/someone/.local/lib/python3.12/site-packages/nvidia/cublas/lib/ 12",
		"home/someone/miniconda3/lib/ 12", "usr/local/cuda-11.8/lib64/ 11", "usr/local/cuda-12.0/lib64/ 12", "opt/nvidia/hpc_sdk/Linux_x86_64/24.9/math_libs/12.6/lib64/ 12",
		"compiler/bin/nvcc", "compiler/lib64/ 12", "linked/ 12", "second/bin/python", "second/lib/ 12", "first/lib/ 12", "base/bin/python3", "first/bin/python3 -> @/base/bin/python3",
		"base/lib/python3.12/site-packages/nvidia/cublas/lib/ 12", "conda/lib/ 12", "active/lib/python3.12/site-packages/nvidia/cublas/lib/ 12", "pythonpath/nvidia/cublas/lib/ 12",
		"path-cuda/lib/ 12", "home-cuda/lib64/ 12", "home-cuda/lib/ 11", "conda/lib64 -> lib")
	want := []string{
		"home-cuda/lib64/libcublas.so.12",
		"home-cuda/lib/libcublas.so.11",
		"path-cuda/lib/libcublas.so.12",
		"pythonpath/nvidia/cublas/lib/libcublas.so.12",
		"active/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		"conda/lib/libcublas.so.12",
		"first/lib/libcublas.so.12",
		"base/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		"second/lib/libcublas.so.12",
		"linked/libcublas.so.12",
		"ld.so",
		"compiler/lib64/libcublas.so.12",
		"usr/local/cuda-12.0/lib64/libcublas.so.12",
		"usr/local/cuda-11.8/lib64/libcublas.so.11",
		"opt/nvidia/hpc_sdk/Linux_x86_64/24.9/math_libs/12.6/lib64/libcublas.so.12",
		"home/someone/.local/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		"usr/local/lib/python3.12/dist-packages/nvidia/cublas/lib/libcublas.so.12",
		"usr/lib/python3/dist-packages/nvidia/cublas/lib/libcublas.so.12",
		"opt/venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12",
		"home/someone/miniconda3/lib/libcublas.so.12",
	}
	if got := found(m, len(want)); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPairs checks which pairs of a folder are usable, and the errors for others.
func TestPairs(t *testing.T) {
	m := newMachine(t, nil)
	put(t, m, "both/ 12", "both/ 11", "both/ 13", "half/libcublas.so.12", "other/libcublasLt.so.12", "new/ 14", "names/libcublas.so", "names/libcublas.so.12.4.5", "archive.zip")
	for _, c := range []struct {
		folder string
		newest int
		want   string
	}{
		{"both", 13, "libcublas.so.13 libcublas.so.12 libcublas.so.11"},
		{"both", 12, "libcublas.so.12 libcublas.so.11"},
		{"half", 13, "libcublasLt.so.12 is not beside @/half/libcublas.so.12"},
		{"other", 13, "libcublas.so.12 is not beside @/other/libcublasLt.so.12"},
		{"new", 13, "@/new/libcublas.so.14 is not usable: with this driver, hatchery supports versions 11 to 13"},
		{"names", 13, ErrNone.Error()},
		{"nowhere", 13, "open @/nowhere: no such file or directory"},
		{"archive.zip/nvidia", 13, "file does not exist"},
	} {
		pairs, err := Pairs(filepath.Join(m.Root, c.folder), c.newest)
		var got []string
		for _, p := range pairs {
			got = append(got, filepath.Base(p.BLAS))
			if p.Lt != strings.Replace(p.BLAS, "libcublas.", "libcublasLt.", 1) {
				t.Errorf("%s with %s", p.BLAS, p.Lt)
			}
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if want := strings.ReplaceAll(c.want, "@", m.Root); strings.Join(got, " ") != want {
			t.Errorf("%s up to %d: %q, want %s", c.folder, c.newest, got, want)
		}
	}
	file := filepath.Join(m.Root, "both/libcublas.so.12")
	if p := PairOf(file); p != PairIn(filepath.Join(m.Root, "both"), 12) {
		t.Errorf("%+v", p)
	}
	if p, alone := PairOf(filepath.Join(m.Root, "half/libcublas.so.12")), filepath.Join(m.Root, "half/libcublas.so.12"); p != (Pair{alone, alone}) {
		t.Errorf("%+v", p)
	}
}

func TestNewest(t *testing.T) {
	for _, c := range []struct {
		cuda, want int
		advice     string
	}{{0, 13, "nvidia-cublas"}, {13020, 13, "nvidia-cublas"}, {14000, 13, "nvidia-cublas"}, {12040, 12, "nvidia-cublas-cu12"}, {11080, 11, "nvidia-cublas-cu11"},
		{10020, 11, "nvidia-cublas-cu11"}} {
		if got := Newest(c.cuda); got != c.want || Package(got) != c.advice {
			t.Errorf("for CUDA %d: version %d, package %s", c.cuda, got, Package(got))
		}
	}
}

// TestDriver checks that libcuda and NVML are searched in the same folders.
func TestDriver(t *testing.T) {
	m := newMachine(t, nil)
	libcuda, libnvml := m.CUDA(), m.NVML("")
	if libcuda[0] != "libcuda.so.1" || libnvml[0] != "libnvidia-ml.so.1" || len(libcuda) < 8 {
		t.Errorf("%q and %q", libcuda, libnvml)
	}
	for i, f := range libcuda {
		if got := strings.Replace(f, "libcuda.so.1", "libnvidia-ml.so.1", 1); libnvml[i] != got {
			t.Errorf("%s, but %s", f, libnvml[i])
		}
		if strings.Contains(f, "aarch64") {
			t.Errorf("%s on amd64", f)
		}
	}
	if got := m.NVML("/driver/libcuda.so.1"); got[0] != "/driver/libnvidia-ml.so.1" || !slices.Equal(got[1:], libnvml) {
		t.Errorf("beside the driver: %q", got)
	}
	if got := m.NVML("libcuda.so.1"); !slices.Equal(got, libnvml) {
		t.Errorf("beside a name: %q", got)
	}
	m.Arch = "arm64"
	if want := filepath.Join(m.Root, "usr/lib/aarch64-linux-gnu/libcuda.so.1"); !slices.Contains(m.CUDA(), want) {
		t.Errorf("%q", m.CUDA())
	}
	m = newMachine(t, map[string]string{EnvCUDA: "/a", EnvNVML: "/b"})
	if got := append(m.CUDA(), m.NVML("/driver/libcuda.so.1")...); !slices.Equal(got, []string{"/a", "/b"}) {
		t.Errorf("named by the environment: %q", got)
	}
}

// TestVariables checks that Variables returns every variable that the search reads.
func TestVariables(t *testing.T) {
	m := Local()
	m.Getenv = func(name string) string {
		if !slices.Contains(Variables(), name) {
			t.Errorf("%s is read but not listed", name)
		}
		return ""
	}
	for range m.CuBLAS() {
	}
	m.CUDA()
	m.NVML("")
}

func TestTried(t *testing.T) {
	var none, some Attempts
	none.Missing()
	some.Empty("/a")
	some.Failed("/c: wrong ELF class")
	some.Missing()
	some.Empty("/b")
	some.Missing()
	if got := none.String() + " | " + some.String(); got != "1 other place does not exist | /c: wrong ELF class; not in /a, /b; 2 other places do not exist" {
		t.Error(got)
	}
}

func TestCompareVersions(t *testing.T) {
	inOrder := []string{"cuda", "cuda-9.0", "cuda-12", "cuda-12.9", "cuda-12.10", "cuda-12.010.1", "cuda-13", "python3", "python3.9", "python3.12", "python3.12t"}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got, want := compareVersions(a, b), cmp.Compare(i, j); got != want {
				t.Errorf("%s and %s: %d, want %d", a, b, got, want)
			}
		}
	}
}

// TestCheck checks that files on which ld.so would fail or block give an error.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "", "libcuda.so.1": "", pipe: pipe + " is not a regular file", dir: dir + " is not a regular file",
		dir + "/none": dir + "/none: no such file or directory", file + "/x": file + "/x: not a directory",
	} {
		if err := Check(path); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
