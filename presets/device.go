package presets

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Device is the parsed value of Run.Device.
type Device struct {
	Kind string // "auto", "cpu" or "cuda"
	GPUs []int  // for "cuda": the driver's ordinals; the first GPU if the value names none
}

// maxGPU is above the ordinals of any machine.
const maxGPU = 255

// ParseDevice parses the value of run.device.
func ParseDevice(s string) (Device, error) {
	switch s {
	case "auto", "cpu":
		return Device{Kind: s}, nil
	case "cuda":
		return Device{Kind: s, GPUs: []int{0}}, nil
	}
	list, ok := strings.CutPrefix(s, "cuda:")
	if !ok {
		return Device{}, errors.New("unknown device")
	}
	d := Device{Kind: "cuda"}
	for n := range strings.SplitSeq(list, ",") {
		gpu, err := strconv.Atoi(n)
		if err != nil || gpu < 0 || gpu > maxGPU || strconv.Itoa(gpu) != n {
			return Device{}, fmt.Errorf("%q is not the number of a GPU", n)
		}
		if slices.Contains(d.GPUs, gpu) {
			return Device{}, fmt.Errorf("names GPU %d twice", gpu)
		}
		d.GPUs = append(d.GPUs, gpu)
	}
	return d, nil
}

func checkDevice(device string) error {
	if _, err := ParseDevice(device); err != nil {
		return fmt.Errorf(`%w; write "auto", "cpu", "cuda", "cuda:1" or "cuda:0,1"`, err)
	}
	return nil
}
