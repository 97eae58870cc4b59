package runs

import (
	"fmt"
	"testing"
)

func TestDevices(t *testing.T) {
	full := Values{GPU: 1, GPUProducts: 4e14, MFU: 40.4, GPUBusy: 97, GPUTemperature: 54, GPUPower: 412.5, GPUMemory: 3 << 30, GPUMemoryTotal: 8 << 30}
	events := []Event{{Kind: RunStart}}
	step := func(stage string, v Values) {
		events = append(events, Event{Kind: StageStart, Stage: stage, Epochs: 1, Steps: 9}, Event{Kind: Step, Stage: stage, Epoch: 1, Step: 1, Values: v})
	}
	step("meta", full)
	events = append(events, Event{Kind: StageEnd, Stage: "meta"})
	step("module-1", full)
	step("module-2", full)
	step("module-3", Values{GPU: 0, GPUProducts: 1.234e12})
	step("module-4", Values{Loss: 1})
	got := ""
	for _, d := range Fold(events).Devices() {
		got += fmt.Sprintln(d, d.Stages)
	}
	want := "gpu 0: 1.23 TFLOP/s, MFU unknown [module-3]\n" +
		"gpu 1: MFU 40.4 %, 97 % busy, 54 C, 412 W, 3.0 of 8.0 GiB [module-1 module-2]\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	// Stages with processes of their own may be on GPUs of the same number.
	events = nil
	for i, host := range []string{"b", "a"} {
		stage := fmt.Sprintf("module-%d", i+1)
		events = append(events, Event{Kind: Attempt, Stage: stage, Attempt: 1, Host: host},
			Event{Kind: StageStart, Stage: stage, Attempt: 1, Epochs: 1, Steps: 9}, Event{Kind: Step, Stage: stage, Attempt: 1, Epoch: 1, Step: 1, Values: Values{GPU: 0}})
	}
	got = ""
	for _, d := range Fold(events).Devices() {
		got += fmt.Sprintln(d, d.Stages)
	}
	if want := "gpu 0 of a: MFU unknown [module-2]\ngpu 0 of b: MFU unknown [module-1]\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
