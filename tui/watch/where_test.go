package watch

import (
	"maps"
	"strings"
	"testing"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
)

func TestLocations(t *testing.T) {
	at := func(stage string, alive runs.Alive, silent time.Duration) runs.Liveness {
		return runs.Liveness{Alive: alive, Silent: silent, Status: runs.Status{Stage: stage, Host: "node7", Phase: runs.Running}}
	}
	state := &runs.State{Stages: []runs.StageState{
		{Name: "meta", Phase: runs.Finished, Job: "1"},
		{Name: "module-1", Phase: runs.Running, Requeues: 2},
		{Name: "module-2", Phase: runs.Waiting, Requeues: 1},
		{Name: "module-3", Phase: runs.Failed},
		{Name: "module-4", Phase: runs.Running},
		{Name: "module-5", Phase: runs.Waiting},
		{Name: "module-6", Phase: runs.Running, Requeues: 3},
		{Name: "assemble", Phase: runs.Waiting},
		{Name: "e2e", Phase: runs.Stopped},
	}}
	attempts := []runs.Liveness{
		at("meta", runs.IsFinished, 0), at("module-1", runs.IsRunning, 0), at("module-3", runs.IsFinished, 0),
		at("module-4", runs.IsStalled, 40*time.Second), at("module-6", runs.IsStalled, time.Hour), at("e2e", runs.IsFinished, 0),
	}
	places := []slurm.StageJob{
		{Stage: "module-1", Job: "2_1", State: "RUNNING", Node: "n7"},
		{Stage: "module-2", Job: "2_2", State: "PENDING", Reason: "BeginTime"},
		{Stage: "module-3", Job: "2_3", State: "FAILED", Reason: "NonZeroExitCode"},
		{Stage: "module-4", Job: "2_4", State: "RUNNING", Node: "n7"},
		{Stage: "module-5", Job: "2_5"},
		{Stage: "module-6", Job: "2_6", State: "NODE_FAIL"},
		{Stage: "assemble", Job: "3", State: "PENDING", Reason: "Dependency"},
		{Stage: "e2e", Job: "4", State: "CANCELLED"},
	}
	want := map[string]string{
		"module-1": "running on node7, requeued twice", "module-2": "pending (BeginTime), requeued once", "module-3": "failed",
		"module-4": "stalled 40s on n7", "module-5": "lost", "module-6": "node_fail, requeued 3 times", "assemble": "pending (Dependency)",
	}
	texts := func(where map[string]Location) map[string]string {
		all := map[string]string{}
		for stage, at := range where {
			all[stage] = at.String()
		}
		return all
	}
	where := Locations(state, attempts, places)
	if got := texts(where); !maps.Equal(got, want) {
		t.Errorf("got %q, want\n%q", got, want)
	}
	if got := Tally(where); got != "2 pending, 1 failed, 1 lost, 1 node_fail, 1 running, 1 stalled" {
		t.Errorf("in all %q", got)
	}
	for stage, want := range map[string][2]bool{
		"module-1": {}, "module-2": {}, "module-3": {true}, "module-4": {}, "module-5": {true}, "module-6": {true}, "assemble": {false, true}, "e2e": {},
	} {
		if at := where[stage]; at.Failed != want[0] || at.Dependent != want[1] {
			t.Errorf("%s: failed %v, dependent %v", stage, at.Failed, at.Dependent)
		}
	}
	// Stages that were started by hand are not in Slurm.
	want = map[string]string{"module-1": "running on node7, requeued twice", "module-4": "stalled 40s on node7", "module-6": "stalled 1h00m on node7, requeued 3 times"}
	if got := texts(Locations(state, attempts, nil)); !maps.Equal(got, want) {
		t.Errorf("by hand %q, want\n%q", got, want)
	}
}

func TestSettleJobs(t *testing.T) {
	away := runs.Liveness{Alive: runs.IsAway, Status: runs.Status{Phase: runs.Submitted}}
	state := &runs.State{
		Stages: []runs.StageState{{Name: "module-1", Phase: runs.Failed}, {Name: "assemble", Phase: runs.Waiting}},
		Errors: []runs.Note{{Stage: "module-1", Message: "no memory"}},
	}
	gone := []slurm.StageJob{{Stage: "module-1", Job: "2_1", State: "FAILED"}, {Stage: "assemble", Job: "3", State: "CANCELLED", Reason: "DependencyNeverSatisfied"}}
	waits := append(gone[:1:1], slurm.StageJob{Stage: "assemble", Job: "3", State: "PENDING", Reason: "Priority"})
	if l, over := SettleJobs(state, away, gone); !over || l.Status.Phase != runs.Failed || l.Status.Message != "module-1 failed: no memory; assemble is cancelled (DependencyNeverSatisfied)" {
		t.Errorf("%v, %+v", over, l)
	}
	both := append(gone[:2:2], slurm.StageJob{Stage: "finetune", Job: "3", State: "CANCELLED", Reason: "DependencyNeverSatisfied"})
	if l, _ := SettleJobs(state, away, both); l.Status.Message != "module-1 failed: no memory; assemble, finetune are cancelled (DependencyNeverSatisfied)" {
		t.Errorf("together: %s", l.Status.Message)
	}
	state.Stages[0].Phase = runs.Waiting // it has not even started
	if l, over := SettleJobs(state, away, gone); !over || !strings.HasPrefix(l.Status.Message, "module-1 is failed, see attempts/slurm-2_1.out; ") {
		t.Errorf("%v, %+v", over, l)
	}
	for _, places := range [][]slurm.StageJob{waits, nil} { // nil: Slurm has not answered yet
		if l, over := SettleJobs(state, away, places); over || l != away {
			t.Errorf("%v is given up: %+v", places, l)
		}
	}
	if _, over := SettleJobs(state, runs.Liveness{Alive: runs.IsRunning}, gone); over {
		t.Error("a run that runs is given up")
	}
}
