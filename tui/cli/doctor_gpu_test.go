//go:build gpu

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hatchery/engine/cuda/emulation"
)

// runAlone runs the command of a test in a process of its own, with the emulation, and
// returns its output. A process looks for a driver only once, and other tests of this one
// may have done so.
func runAlone(t *testing.T, cmd Command) string {
	t.Helper()
	if emulation.OnCard() {
		t.Skip("this test needs the emulation")
	}
	emulation.Start(t)
	if os.Getenv("HATCHERY_TEST_ALONE") != "" {
		if err := cmd.Run(t.Context(), &App{Out: os.Stdout, Root: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "HATCHERY_TEST_ALONE=1")
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestDoctorWithGPU(t *testing.T) {
	out := runAlone(t, new(Doctor))
	if out == "" {
		return
	}
	want := `(?m)^GPU driver +for CUDA 13.0, .*/nvidia-[0-9a-f]+\.so
GPU 0 +Emulated device, compute capability 9\.0, 132 multiprocessors, memory 8\.0 GiB, L2 1\.0 MiB, PCI 0000:01:00\.0
 +3\.0 GiB in use, 97 % busy, 54 °C, 412 W
cuBLAS +12\.9\.1, .*/nvidia-[0-9a-f]+\.so
NVML +for NVIDIA driver 580\.00\.00, .*/nvidia-[0-9a-f]+\.so$`
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// TestDoctorFindsLibraries checks that doctor names the files that a run would open, if the
// environment has only a driver and a virtual environment whose python3 is first in PATH.
// It starts a process, because a process loads libraries only once.
func TestDoctorFindsLibraries(t *testing.T) {
	if os.Getenv("HATCHERY_TEST_DOCTOR") != "" {
		if err := new(Doctor).Run(t.Context(), &App{Out: os.Stdout, Root: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		return
	}
	root := t.TempDir()
	libraries := map[string]string{
		"GPU driver": filepath.Join(root, "driver/libcuda.so.1"),
		"NVML":       filepath.Join(root, "driver/libnvidia-ml.so.1"),
		"cuBLAS":     filepath.Join(root, "torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13"),
	}
	emulation.Install(t, libraries["GPU driver"], libraries["NVML"], libraries["cuBLAS"],
		filepath.Join(filepath.Dir(libraries["cuBLAS"]), "libcublasLt.so.13"))
	bin, base := filepath.Join(root, "torch/.venv/bin"), filepath.Join(root, "base/bin")
	for _, dir := range []string{bin, base} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(base, "python3.12"), []byte("#!/bin/sh\nexit 1\n"), 0o755),
		os.Symlink(filepath.Join(base, "python3.12"), filepath.Join(bin, "python3")),
		os.WriteFile(filepath.Join(root, "torch/.venv/pyvenv.cfg"), []byte("home = "+base+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	doctor := func(env ...string) string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDoctorFindsLibraries$")
		cmd.Env = emulation.Environment(append(env, "HATCHERY_TEST_DOCTOR=1", "HOME="+root, "HATCHERY_LIBCUDA="+libraries["GPU driver"])...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	said := doctor("PATH=" + bin + ":/usr/bin:/bin")
	for what, file := range libraries {
		if !regexp.MustCompile(`(?m)^` + what + ` .*, ` + regexp.QuoteMeta(file) + `$`).MatchString(said) {
			t.Errorf("%s is not %s in\n%s", what, file, said)
		}
	}
	for version, advice := range map[string]string{"13000": "`pip install nvidia-cublas`", "12040": "`pip install nvidia-cublas-cu12`"} {
		said := doctor("HATCHERY_EMULATION_VERSION="+version, "PATH="+base)
		if !strings.Contains(said, "missing: cuBLAS") {
			t.Skip("this machine has cuBLAS, so doctor does not say how to get it")
		}
		if !regexp.MustCompile(`(?m)^cuBLAS +missing: .*` + advice).MatchString(said) {
			t.Errorf("for CUDA %s, no %s in\n%s", version, advice, said)
		}
	}
}

// TestPlanOnGPUs checks that a plan says which module is on which GPU.
func TestPlanOnGPUs(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	out := runAlone(t, &Plan{PresetArg{"quickstart", []string{"run.device=cuda:0,1", "run.together=true"}}})
	if out == "" {
		return
	}
	if want := "\ncuda:0 trains module-1, module-2; cuda:1 trains module-3, module-4\n"; !strings.Contains(out, want) {
		t.Errorf("got\n%s\nwant%s", out, want)
	}
}
