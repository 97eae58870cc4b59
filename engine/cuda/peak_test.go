package cuda

import "testing"

func TestPeak(t *testing.T) {
	for name, want := range map[string]float64{ // TFLOP/s
		"A100": 312, "NVIDIA A100-SXM4-80GB": 312, "NVIDIA A100-PCIE-40GB": 312, "NVIDIA A100 80GB PCIe": 312,
		"NVIDIA H100 80GB HBM3": 989, "NVIDIA H100 PCIe": 756, "NVIDIA H100 NVL": 835, "cuda:0 NVIDIA H200": 989,
		"cuda:0 NVIDIA H200, cuda:1 NVIDIA H200": 989, "NVIDIA H200 NVL": 835, "NVIDIA GH200 480GB": 989, "NVIDIA B200": 2250, "NVIDIA L40S": 362, "NVIDIA L40": 181, "NVIDIA L4": 121,
		"NVIDIA GeForce RTX 4090": 165, "NVIDIA GeForce RTX 3090": 71,
		// Of these nothing is known.
		"": 0, "NVIDIA": 0, "GeForce GTX 1080": 0, "NVIDIA A10": 0, "NVIDIA H800": 0, "NVIDIA H100 80GB HBM3 MIG 1g.10gb": 0,
		"NVIDIA GeForce RTX 4090 D": 0, "NVIDIA GeForce RTX 4090 Laptop GPU": 0, "NVIDIA GeForce RTX 3090 Ti": 0, "NVIDIA A100-SXM-64GB": 0,
	} {
		got, ok := Peak(name)
		if ok != (want != 0) || ok && got != want*1e12 {
			t.Errorf("%q: %g, %v; want %g TFLOP/s", name, got, ok, want)
		}
	}
}
