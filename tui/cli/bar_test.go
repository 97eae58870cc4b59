package cli

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestBarOfForeignEvents draws bars for arbitrary events. They must fit the line whatever the progress and
// the name.
func TestBarOfForeignEvents(t *testing.T) {
	for _, e := range []runs.Event{
		{Kind: runs.StageStart, Stage: "a", Epochs: 1, Steps: 10, Step: -1000000},
		{Kind: runs.StageStart, Stage: "a", Epochs: 1, Steps: -10, Step: 7},
		{Kind: runs.StageStart, Stage: strings.Repeat("größe\n\x1b[2J", 100), Epochs: 3, Steps: 10},
	} {
		var out bytes.Buffer
		show := newText(&out, "x", &presets.Config{})
		show.width = 60
		state := runs.Fold([]runs.Event{{Kind: runs.RunStart, Plan: []runs.StagePlan{{Stage: e.Stage, Cost: math.MaxFloat64}, {Stage: "b", Cost: math.MaxFloat64}}}})
		for _, e := range []runs.Event{e, {Kind: runs.Step, Stage: e.Stage, Epoch: 1, Step: -5}, {Kind: runs.Epoch, Stage: "never begun", Epoch: 1}} {
			state.Apply(e)
			if err := show.event(e, state); err != nil {
				t.Fatal(err)
			}
		}
		if text := strings.ReplaceAll(out.String(), "\r\x1b[K", ""); text != printable.Text(text) {
			t.Errorf("%q", text)
		}
	}
}
