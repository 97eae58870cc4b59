package runs

import (
	"fmt"
	"testing"
)

func TestDevices(t *testing.T) {
	full := Values{GPU: 1, GPUProducts: 4e14}
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
		got += fmt.Sprintln(d.Host, d.Number, d.Stages, d.Values[GPUProducts])
	}
	want := " 0 [module-3] 1.234e+12\n" +
		" 1 [module-1 module-2] 4e+14\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	// Stages on different hosts may use GPUs with the same number.
	events = nil
	for i, host := range []string{"b", "a"} {
		stage := fmt.Sprintf("module-%d", i+1)
		events = append(events, Event{Kind: Attempt, Stage: stage, Attempt: 1, Host: host},
			Event{Kind: StageStart, Stage: stage, Attempt: 1, Epochs: 1, Steps: 9}, Event{Kind: Step, Stage: stage, Attempt: 1, Epoch: 1, Step: 1, Values: Values{GPU: 0}})
	}
	got = ""
	for _, d := range Fold(events).Devices() {
		got += fmt.Sprintln(d.Host, d.Number, d.Stages, d.Values[GPUProducts])
	}
	if want := "a 0 [module-2] 0\nb 0 [module-1] 0\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
