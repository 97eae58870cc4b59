//go:build gpu

package cli

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"hatchery/engine/cuda/emulation"
)

func TestDoctorWithGPU(t *testing.T) {
	if emulation.Real() {
		t.Skip("about the emulation, not the card")
	}
	emulation.Start(t)
	var out bytes.Buffer
	if err := (&App{Out: &out, Root: t.TempDir()}).Doctor(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := `(?m)^GPU driver +for CUDA 13.0, .*/nvidia-[0-9a-f]+\.so
GPU 0 +Emulated device, compute capability 9\.0, 132 multiprocessors, memory 8\.0 GiB, L2 1\.0 MiB, PCI 0000:01:00\.0
 +3\.0 GiB in use, 97 % busy, 54 °C, 412 W
cuBLAS +12\.9\.1, .*/nvidia-[0-9a-f]+\.so
NVML +found, NVIDIA driver 580\.00\.00$`
	if !regexp.MustCompile(want).Match(out.Bytes()) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestPlanOnGPUs: a plan says which module is on which GPU.
func TestPlanOnGPUs(t *testing.T) {
	if emulation.Real() {
		t.Skip("about the emulation, not the card")
	}
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	emulation.Start(t)
	var out bytes.Buffer
	if err := (&App{Out: &out, Root: t.TempDir()}).Plan("quickstart", []string{"run.device=cuda:0,1", "run.together=true"}); err != nil {
		t.Fatal(err)
	}
	if want := "\ncuda:0 trains module-1, module-2; cuda:1 trains module-3, module-4\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant%s", out.String(), want)
	}
}
