//go:build gpu

package blas

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/library"
)

// TestLoad searches for cuBLAS in separate processes, because a process loads only once.
func TestLoad(t *testing.T) {
	if how := os.Getenv("HATCHERY_TEST_LOAD"); how != "" {
		if err := driver.Load(); err != nil {
			t.Fatal(err)
		}
		var err error
		switch m := library.Local(); how {
		case "Load":
			err = Load()
		case "openLinked":
			err = openLinked(library.Newest(driver.CUDA()))
		default:
			m.Root = how
			err = search(m, library.Newest(driver.CUDA()))
		}
		said := Library()
		if err != nil {
			said = err.Error()
		}
		os.Stdout.WriteString("<<" + said + ">>")
		os.Exit(0)
	}
	target := "targets/x86_64-linux/lib/"
	if runtime.GOARCH == "arm64" {
		target = "targets/sbsa-linux/lib/"
	}
	for _, c := range []struct {
		name  string
		how   string            // Load, openLinked, or the folder that stands for /; @ is the test's
		env   string            // @ likewise
		there string            // folders with cuBLAS: its version comes first
		files map[string]string // others, with what is in them: text, a copy of the stand-ins, or -> and where a link leads
		want  []string          // the file that is opened, or parts of what is said
	}{
		{name: "CUDA 13's wheels, their Python in PATH", env: "PATH=@/bin", there: "13:lib/python3.12/site-packages/nvidia/cu13/lib/",
			files: map[string]string{"bin/python3": ""}, want: []string{"@/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13"}},
		{name: "CUDA 12's wheels, their Python in PATH", env: "PATH=@/bin", there: "12:lib/python3.12/site-packages/nvidia/cublas/lib/",
			files: map[string]string{"bin/python3": ""}, want: []string{"@/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12"}},
		{name: "PyTorch's own", env: "VIRTUAL_ENV=@/venv", there: "11:venv/lib/python3.9/site-packages/torch/lib/",
			want: []string{"@/venv/lib/python3.9/site-packages/torch/lib/libcublas.so.11"}},
		{name: "conda", env: "CONDA_PREFIX=@/conda", there: "12:conda/lib/", want: []string{"@/conda/lib/libcublas.so.12"}},
		{name: "CUDA_HOME", env: "CUDA_HOME=@/cuda", there: "13:cuda/" + target, want: []string{"@/cuda/" + target + "libcublas.so.13"}},
		{name: "PYTHONPATH", env: "PYTHONPATH=@/p", there: "13:p/nvidia/cu13/lib/", want: []string{"@/p/nvidia/cu13/lib/libcublas.so.13"}},
		{name: "LD_LIBRARY_PATH", env: "LD_LIBRARY_PATH=@/l", there: "12:l/", want: []string{"@/l/libcublas.so.12"}},
		{name: "packages of the user", how: "@", env: "HOME=@/home", there: "13:home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/",
			want: []string{"@/home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13"}},
		{name: "nvcc in PATH, a link", how: "@", env: "PATH=@/bin", there: "12:apps/cuda/lib64/",
			files: map[string]string{"apps/cuda/bin/nvcc": "", "bin/nvcc": "-> @/apps/cuda/bin/nvcc"}, want: []string{"@/apps/cuda/lib64/libcublas.so.12"}},
		{name: "the newest toolkit", how: "@", there: "12:usr/local/cuda-12.9/lib64/ 12:usr/local/cuda-12.10/lib64/",
			want: []string{"@/usr/local/cuda-12.10/lib64/libcublas.so.12"}},
		{name: "the HPC SDK", how: "@", there: "12:opt/nvidia/hpc_sdk/Linux_x86_64/24.9/math_libs/12.6/lib64/",
			want: []string{"@/opt/nvidia/hpc_sdk/Linux_x86_64/24.9/math_libs/12.6/lib64/libcublas.so.12"}},
		{name: "a script that chooses a Python", how: "@", env: "PATH=@/shims", there: "13:versions/site-packages/nvidia/cu13/lib/",
			files: map[string]string{"shims/python3": "#!/bin/sh\necho @/versions/site-packages\n"},
			want:  []string{"@/versions/site-packages/nvidia/cu13/lib/libcublas.so.13"}},
		{name: "ld.so", how: "openLinked", env: "LD_LIBRARY_PATH=@/l", there: "12:l/ 13:l/", want: []string{"@/l/libcublas.so.13"}},
		{name: "ld.so, the two in different folders", how: "openLinked", env: "LD_LIBRARY_PATH=@/a:@/b", there: "13:b/",
			files: map[string]string{"a/libcublasLt.so.13": "copy"}, want: []string{"@/a/libcublas.so.13: no such file or directory"}},
		{name: "a file that is named", env: "HATCHERY_CUBLAS=@/x/libcublas.so.12 CUDA_HOME=@/cuda", there: "12:x/ 12:cuda/lib64/",
			want: []string{"@/x/libcublas.so.12"}},
		{name: "a folder that is named", env: "HATCHERY_CUBLAS=@/x CUDA_HOME=@/cuda", there: "12:x/ 12:cuda/lib64/", want: []string{"@/x/libcublas.so.12"}},
		{name: "a folder that is named, without cuBLAS", env: "HATCHERY_CUBLAS=@/x CUDA_HOME=@/cuda", there: "12:cuda/lib64/",
			files: map[string]string{"x/libcublas.so": ""},
			want:  []string{"cuBLAS: HATCHERY_CUBLAS=@/x: no cuBLAS here; name a folder with libcublas.so.N and libcublasLt.so.N, N from 11 to 13, or unset HATCHERY_CUBLAS"}},
		{name: "a folder that is named, with files that are none", env: "HATCHERY_CUBLAS=@/x",
			files: map[string]string{"x/libcublas.so.13": "text", "x/libcublasLt.so.13": "text"},
			want:  []string{"cuBLAS: HATCHERY_CUBLAS=@/x: @/x/libcublasLt.so.13: ", "file too short"}},
		{name: "a file that is named and does not exist", env: "HATCHERY_CUBLAS=@/x", want: []string{"cuBLAS: HATCHERY_CUBLAS=@/x: @/x: no such file or directory; name a folder with libcublas.so.N"}},
		{name: "another library by that name", env: "HATCHERY_CUBLAS=libm.so.6", want: []string{"cuBLAS: HATCHERY_CUBLAS=libm.so.6: libm.so.6 lacks cublasCreate_v2"}},
		{name: "a folder whose libraries cannot be opened is passed over", env: "CUDA_HOME=@/cuda PYTHONPATH=@/p", there: "12:p/nvidia/cublas/lib/",
			files: map[string]string{"cuda/lib64/libcublas.so.13": "text", "cuda/lib64/libcublasLt.so.13": "copy"},
			want:  []string{"@/p/nvidia/cublas/lib/libcublas.so.12"}},
		{name: "a version that the driver is too old for", env: "HATCHERY_EMULATION_VERSION=12040 CUDA_HOME=@/cuda", there: "13:cuda/lib64/ 12:cuda/lib/",
			want: []string{"@/cuda/lib/libcublas.so.12"}},
		{name: "nothing", how: "@", env: "PATH=@/bin CUDA_HOME=@/cuda VIRTUAL_ENV=@/venv CONDA_PREFIX=@/conda HATCHERY_EMULATION_VERSION=12040", there: "13:conda/lib/",
			files: map[string]string{"bin/python3": "#!/bin/sh\necho ImportError >&2\nexit 1\n", "venv/lib/python3.12/site-packages/x": "",
				"cuda/lib64/libcublas.so.12": "text", "cuda/lib64/libcublasLt.so.12": "text"},
			want: []string{"cuBLAS 11 to 12 was not found: install NVIDIA's library (`pip install nvidia-cublas-cu12` or the package libcublas), or name its folder in HATCHERY_CUBLAS; ",
				"searched: @/cuda/lib64/libcublasLt.so.12: file too short; ", "@/conda/lib/libcublas.so.13 is not usable: with this driver, hatchery supports versions 11 to 12; ",
				"@/bin/python3 did not say where its packages are: exit status 1: ImportError; ",
				"not in @/venv/lib/python3.12/site-packages, @/venv/lib, the system's libraries; ", " other places do not exist"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			here := func(s string) string { return strings.ReplaceAll(s, "@", root) }
			emulation.Install(t)
			for f := range strings.FieldsSeq(c.there) {
				version, folder, _ := strings.Cut(f, ":")
				folder = filepath.Join(root, folder)
				emulation.Install(t, filepath.Join(folder, "libcublas.so."+version), filepath.Join(folder, "libcublasLt.so."+version))
			}
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if text == "copy" {
					emulation.Install(t, path)
					continue
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				var err error
				if target, ok := strings.CutPrefix(here(text), "-> "); ok {
					err = os.Symlink(target, path)
				} else {
					err = os.WriteFile(path, []byte(here(text)), 0o755)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			how := "Load"
			if c.how != "" {
				how = here(c.how)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestLoad$")
			cmd.Env = emulation.Environment(append(strings.Fields(here(c.env)), "HATCHERY_TEST_LOAD="+how, driver.Env+"="+os.Getenv(driver.Env))...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, said, _ := strings.Cut(string(out), "<<")
			said, _, _ = strings.Cut(said, ">>")
			if c.name == "nothing" && filepath.IsAbs(said) && !strings.HasPrefix(said, root) {
				t.Skipf("this machine has %s for every program", said)
			}
			for _, w := range c.want {
				if w = here(w); !strings.Contains(said, w) || filepath.IsAbs(w) && len(c.want) == 1 && !strings.HasPrefix(said, w) {
					t.Errorf("%s\nis not in\n%s", w, said)
				}
			}
		})
	}
}

// TestLoadFromVirtualEnvironment tests a machine whose PyTorch is in a virtual environment
// that is only found through PATH: by its python3, or by a script that has to be run.
// Python makes the environment.
func TestLoadFromVirtualEnvironment(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("a virtual environment needs python3")
		}
		t.Skip("no python3, which makes a virtual environment")
	}
	emulation.Install(t)
	venv := filepath.Join(t.TempDir(), "torch/.venv")
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("%q, %v", packages, err)
	}
	folder := filepath.Join(packages[0], "nvidia/cu13/lib")
	emulation.Install(t, filepath.Join(folder, "libcublas.so.13"), filepath.Join(folder, "libcublasLt.so.13"))
	shims := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec '%s/bin/python3' \"$@\"\n", venv)
	if err := os.WriteFile(filepath.Join(shims, "python3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, how string }{
		{"its python3 in PATH", filepath.Join(venv, "bin"), "Load"},
		{"a script in PATH that runs its python3", shims, t.TempDir()},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLoad$")
		cmd.Env = emulation.Environment("PATH="+c.path, "HATCHERY_TEST_LOAD="+c.how, driver.Env+"="+os.Getenv(driver.Env))
		out, err := cmd.CombinedOutput()
		if want := "<<" + filepath.Join(folder, "libcublas.so.13") + ">>"; err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", c.name, err, out, want)
		}
	}
}
