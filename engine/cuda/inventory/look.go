//go:build gpu

package inventory

import (
	"errors"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/nvml"
)

// Look examines this machine. It opens no device and uses no memory of a card.
func Look() Report {
	var r Report
	infos, err := driver.Devices()
	r.Driver = Found{Path: driver.Library(), Err: err}
	if err == nil {
		r.Driver.Version = driver.Version(driver.CUDA())
		if len(infos) == 0 {
			r.Driver.Err = errors.New("the driver sees no card: check nvidia-smi and CUDA_VISIBLE_DEVICES")
		}
	}
	if r.CuBLAS.Err = blas.Load(); r.CuBLAS.Err == nil {
		r.CuBLAS.Version, r.CuBLAS.Path = blas.Version(), blas.Library()
	}
	r.NVML.Version, r.NVML.Err = nvml.DriverVersion()
	r.NVML.Path = nvml.Library()
	for _, i := range infos {
		c := Card{Name: i.Name, Major: i.Major, Minor: i.Minor, Multiprocessors: i.Multiprocessors, Memory: i.Memory, L2: i.L2, PCI: i.PCI,
			Err: i.Supported()}
		if card, err := nvml.Open(i.UUID); err == nil {
			if reading, err := card.Read(); err == nil {
				c.Watched = true
				c.Used, c.Busy, c.Temperature, c.Power = reading.Used, reading.Busy, reading.Temperature, reading.Power
			}
		}
		r.Cards = append(r.Cards, c)
	}
	return r
}
