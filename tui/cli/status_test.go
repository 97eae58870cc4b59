package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hatchery/engine/runs"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// halfway returns the state of a run in the middle of its second stage.
func halfway() *runs.State {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	return runs.Fold([]runs.Event{
		{Time: at(0), Kind: runs.RunStart, Plan: []runs.StagePlan{{Stage: "meta", Epochs: 1, Steps: 10, Cost: 1}, {Stage: "finetune", Epochs: 3, Steps: 30, Cost: 3}}},
		{Time: at(0), Kind: runs.StageStart, Stage: "meta", Epochs: 1, Steps: 10},
		{Time: at(1), Kind: runs.StageEnd, Stage: "meta", Epoch: 1, Step: 10, Values: runs.Values{runs.Top1: 50}},
		{Time: at(1), Kind: runs.StageStart, Stage: "finetune", Epochs: 3, Steps: 30},
		{Time: at(2), Kind: runs.Epoch, Stage: "finetune", Epoch: 1, Step: 10, Values: runs.Values{runs.Loss: 1.5}},
	})
}

// TestStatusJSON compares the output of status --json with golden files. For a run whose
// process has ended, no field may say that it is running.
func TestStatusJSON(t *testing.T) {
	for name, live := range map[string]runs.Liveness{
		"running": {Alive: runs.IsRunning, Silent: 1500 * time.Millisecond},
		"stalled": {Alive: runs.IsStalled, Silent: 42 * time.Second},
		"crashed": {Alive: runs.IsCrashed, Silent: time.Hour},
		"failed":  {Alive: runs.IsFinished, Silent: time.Hour, Status: runs.Status{Phase: runs.Failed, Message: "no space left on device"}},
	} {
		if live.Status.Phase == "" {
			live.Status.Phase = runs.Running
		}
		live.Status.Stage, live.Status.PID, live.Status.Host = "finetune", 4711, "node7"
		h := health{state: halfway(), live: live}
		h.state.Settle(live)
		var got bytes.Buffer
		if err := statusJSON(&got, "/data/runs/x", h, noon.Add(2*time.Minute)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "status-"+name+".json")
		if os.Getenv("UPDATE_SCRIPTS") != "" {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got %s, want %s", name, &got, want)
		}
	}
}
