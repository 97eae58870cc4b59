//go:build gpu

package nvml_test

import (
	"strings"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/nvml"
)

func TestRead(t *testing.T) {
	emulation.Start(t)
	devices, err := driver.Devices()
	if err != nil {
		t.Fatal(err)
	}
	c, err := nvml.Open(devices[0].UUID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	if r.Total < 1<<30 || r.Used > r.Total || r.Busy < 0 || r.Busy > 100 || r.Temperature < 1 || r.Temperature > 120 {
		t.Errorf("%+v", r)
	}
	if !emulation.OnCard() {
		want := nvml.Reading{Busy: 97, MemoryBusy: 61, Used: 3 << 30, Total: 8 << 30, Temperature: 54, Power: 412.5}
		if r != want { // it does not say its limit
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	if v, err := nvml.DriverVersion(); err != nil || !strings.Contains(v, ".") {
		t.Errorf("driver %q: %v", v, err)
	}
	if _, err := nvml.Open("GPU-0"); err == nil || !strings.Contains(err.Error(), "card GPU-0: NVML: nvmlDeviceGetHandleByUUID: ") {
		t.Errorf("%v", err)
	}
}
