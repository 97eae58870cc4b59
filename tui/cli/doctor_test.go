package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hatchery/engine/cuda/inventory"
)

func TestGPURows(t *testing.T) {
	driver := inventory.Found{Version: "12.4", Path: "libcuda.so.1"}
	cublas := inventory.Found{Version: "12.4.5", Path: "/opt/cuda/libcublas.so.12"}
	nvml := inventory.Found{Version: "550.54", Path: "/usr/lib/libnvidia-ml.so.1"}
	for name, c := range map[string]struct {
		report inventory.Report
		want   string
	}{
		"nothing": {
			inventory.Report{Driver: inventory.Found{Err: errors.New("no driver")}, CuBLAS: inventory.Found{Err: errors.New("no cuBLAS")},
				NVML: inventory.Found{Err: errors.New("no NVML")}},
			"GPU: none: no driver\n",
		},
		"no driver, but cuBLAS": {
			inventory.Report{Driver: inventory.Found{Err: errors.New("no driver")}, CuBLAS: cublas, NVML: inventory.Found{Err: errors.New("no NVML")}},
			"GPU: none: no driver\n" +
				"cuBLAS: 12.4.5, /opt/cuda/libcublas.so.12\n" +
				"NVML: missing, so the load and temperature of GPUs are not shown: no NVML\n",
		},
		"a driver that does not start": {
			inventory.Report{Driver: inventory.Found{Path: "libcuda.so.1", Err: errors.New("does not start")}, CuBLAS: cublas, NVML: nvml},
			"GPU: none: does not start\n" +
				"cuBLAS: 12.4.5, /opt/cuda/libcublas.so.12\n" +
				"NVML: for NVIDIA driver 550.54, /usr/lib/libnvidia-ml.so.1\n",
		},
		"no card": {
			inventory.Report{Driver: inventory.Found{Version: "12.4", Path: "libcuda.so.1", Err: errors.New("the driver sees no card")}, CuBLAS: cublas, NVML: nvml},
			"GPU driver: for CUDA 12.4, libcuda.so.1\n" +
				"GPU: none: the driver sees no card\n" +
				"cuBLAS: 12.4.5, /opt/cuda/libcublas.so.12\n" +
				"NVML: for NVIDIA driver 550.54, /usr/lib/libnvidia-ml.so.1\n",
		},
		"two cards, one too old, cuBLAS missing": {
			inventory.Report{Driver: driver, Cards: []inventory.Card{
				{Name: "NVIDIA H200", Major: 9, Multiprocessors: 132, Memory: 150 << 30, L2: 60 << 20, PCI: "0000:18:00.0", Watched: true,
					Used: 3 << 29, Busy: 97, Temperature: 54, Power: 412.4},
				{Name: "Tesla V100", Major: 7, Err: errors.New("needs 8.0")},
			}, CuBLAS: inventory.Found{Err: errors.New("not found; looked in /a, /b")}, NVML: nvml},
			"GPU driver: for CUDA 12.4, libcuda.so.1\n" +
				"GPU 0: NVIDIA H200, compute capability 9.0, 132 multiprocessors, memory 150.0 GiB, L2 60.0 MiB, PCI 0000:18:00.0\n" +
				": 1.5 GiB in use, 97 % busy, 54 °C, 412 W\n" +
				"GPU 1: Tesla V100 cannot be used: needs 8.0\n" +
				"cuBLAS: missing: not found; looked in /a, /b\n" +
				"NVML: for NVIDIA driver 550.54, /usr/lib/libnvidia-ml.so.1\n",
		},
	} {
		var got strings.Builder
		gpus(func(what, format string, args ...any) {
			fmt.Fprintf(&got, "%s: %s\n", what, fmt.Sprintf(format, args...))
		}, c.report)
		if got.String() != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got.String(), c.want)
		}
	}
}
