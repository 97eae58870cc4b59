package watch

import (
	"testing"

	"hatchery/engine/runs"
)

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		device      runs.Device
		brief, line string
	}{
		{runs.Device{Number: 1, Values: runs.Values{runs.GPUProducts: 4e14, runs.MFU: 40.4, runs.GPUBusy: 97, runs.GPUTemperature: 54,
			runs.GPUPower: 412.5, runs.GPUMemory: 3 << 30, runs.GPUMemoryTotal: 8 << 30}},
			"gpu 1 MFU 40 % 97 % busy 54 C", "gpu 1: MFU 40.4 %, 97 % busy, 54 C, 412 W, 3.0 of 8.0 GiB"},
		{runs.Device{Values: runs.Values{runs.GPUProducts: 1.234e12, runs.GPUMemory: 512 << 20}}, "gpu 0", "gpu 0: 1.23 TFLOP/s, MFU unknown, 512.0 MiB"},
		{runs.Device{Host: "node3"}, "gpu 0 of node3", "gpu 0 of node3: MFU unknown"},
	} {
		if got := DeviceBrief(c.device); got != c.brief {
			t.Errorf("brief: %q, want %q", got, c.brief)
		}
		if got := DeviceLine(c.device); got != c.line {
			t.Errorf("line: %q, want %q", got, c.line)
		}
	}
}
