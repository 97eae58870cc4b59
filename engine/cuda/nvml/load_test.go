//go:build gpu

package nvml_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/nvml"
)

// TestLibrary finds NVML in processes of their own: a process loads once.
func TestLibrary(t *testing.T) {
	if os.Getenv("HATCHERY_TEST_LIBRARY") != "" {
		_, err := nvml.DriverVersion()
		said := nvml.Library()
		if err != nil {
			said = err.Error()
		}
		os.Stdout.WriteString("<<" + said + ">>")
		os.Exit(0)
	}
	root := t.TempDir()
	both, other, broken := filepath.Join(root, "both"), filepath.Join(root, "other"), filepath.Join(root, "broken")
	emulation.Install(t, filepath.Join(both, "libcuda.so.1"), filepath.Join(both, "libnvidia-ml.so.1"), filepath.Join(other, "libnvidia-ml.so.1"),
		filepath.Join(broken, "libcuda.so.1"))
	if err := os.WriteFile(filepath.Join(broken, "libnvidia-ml.so.1"), []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		want []string
	}{
		{"found by ld.so", []string{"LD_LIBRARY_PATH=" + other}, []string{"<<" + other + "/libnvidia-ml.so.1>>"}},
		{"beside the driver first", []string{"HATCHERY_LIBCUDA=" + both + "/libcuda.so.1", "LD_LIBRARY_PATH=" + other}, []string{"<<" + both + "/libnvidia-ml.so.1>>"}},
		{"beside a driver that ld.so found", []string{"LD_LIBRARY_PATH=" + both}, []string{"<<" + both + "/libnvidia-ml.so.1>>"}},
		{"one that cannot be opened", []string{"HATCHERY_LIBCUDA=" + broken + "/libcuda.so.1", "LD_LIBRARY_PATH=" + other}, []string{"<<" + other + "/libnvidia-ml.so.1>>"}},
		{"named", []string{nvml.Env + "=" + other + "/libnvidia-ml.so.1", "LD_LIBRARY_PATH=" + both}, []string{"<<" + other + "/libnvidia-ml.so.1>>"}},
		{"named and not there", []string{nvml.Env + "=/nowhere", "LD_LIBRARY_PATH=" + both},
			[]string{"<<NVML: /nowhere: no such file or directory", "it comes with NVIDIA's driver", "or name libnvidia-ml.so.1 in " + nvml.Env}},
		{"another library", []string{nvml.Env + "=libm.so.6"}, []string{"<<NVML: libm.so.6 lacks nvmlInit_v2; "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestLibrary$")
			cmd.Env = emulation.Environment(append(c.env, "HATCHERY_TEST_LIBRARY=1")...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("%s\nis not in\n%s", w, out)
				}
			}
		})
	}
}
