package runs

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

// script creates events that are a second apart.
type script struct {
	now    time.Time
	events []Event
}

func (s *script) emit(e Event) {
	s.now = s.now.Add(time.Second)
	e.Time = s.now
	s.events = append(s.events, e)
}

var testPlan = []StagePlan{
	{Stage: "meta", Method: "assembling", Epochs: 4, Steps: 12, Cost: 1},
	{Stage: "module-1", Method: "assembling", Epochs: 4, Steps: 12, Cost: 3},
}

// train emits the steps [from, to) of a stage with 3 steps per epoch, and a checkpoint after
// each epoch.
func (s *script) train(stage string, from, to int) {
	for i := from; i < to; i++ {
		epoch := i/3 + 1
		s.emit(Event{Kind: Step, Stage: stage, Epoch: epoch, Step: i + 1, Values: Values{Loss: 5 - float64(i)/10, LR: 0.1}})
		if i%5 == 4 {
			s.emit(Event{Kind: Warning, Stage: stage, Epoch: epoch, Step: i + 1, Message: "odd image"})
		}
		if i%3 == 2 {
			s.emit(Event{Kind: Epoch, Stage: stage, Epoch: epoch, Step: i + 1, Values: Values{Loss: 5 - float64(epoch), Speed: 100}})
			s.emit(Event{Kind: Eval, Stage: stage, Epoch: epoch, Step: i + 1, Values: Values{EvalLoss: 4, Top1: []float64{10, 20, 0, 20}[epoch-1]}})
			s.emit(Event{Kind: Saved, Stage: stage, Epoch: epoch, Step: i + 1, File: "stages/" + stage + "/checkpoint.safetensors"})
		}
	}
}

func (s *script) end(stage string) {
	s.emit(Event{Kind: StageEnd, Stage: stage, Epoch: 4, Step: 12, Values: Values{Top1: 20}})
}

func uninterrupted() *script {
	s := &script{now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s.emit(Event{Kind: RunStart, Plan: testPlan})
	for _, stage := range []string{"meta", "module-1"} {
		s.emit(Event{Kind: StageStart, Stage: stage, Epochs: 4, Steps: 12})
		s.train(stage, 0, 12)
		s.end(stage)
	}
	s.emit(Event{Kind: Result, Method: "assembling", Values: Values{Top1: 20}})
	s.emit(Event{Kind: Done})
	return s
}

// timeless clears the fields that a kill may change.
func timeless(s *State) *State {
	s.Attempts, s.Elapsed, s.Started, s.Updated, s.clock, s.base = 0, 0, time.Time{}, time.Time{}, clock{}, 0
	for i := range s.Stages {
		st := &s.Stages[i]
		st.Attempts, st.Elapsed, st.Started, st.Ended, st.clock = 0, 0, time.Time{}, time.Time{}, clock{}
	}
	for i := range s.Warnings {
		s.Warnings[i].Time = time.Time{}
	}
	return s
}

// TestResumedFoldsLikeUninterrupted kills a run after each of its events and resumes it from
// the last checkpoint.
func TestResumedFoldsLikeUninterrupted(t *testing.T) {
	whole := uninterrupted()
	want := timeless(Fold(whole.events))
	for n := 1; n < len(whole.events); n++ {
		s := &script{now: whole.now, events: append([]Event(nil), whole.events[:n]...)}
		s.now = s.now.Add(time.Hour)
		s.emit(Event{Kind: RunStart, Plan: testPlan})
		ended := map[string]bool{}
		saved := map[string]int{}
		for _, e := range whole.events[:n] {
			ended[e.Stage] = ended[e.Stage] || e.Kind == StageEnd
			if e.Kind == Saved {
				saved[e.Stage] = e.Epoch
			}
		}
		for _, stage := range []string{"meta", "module-1"} {
			if ended[stage] {
				continue
			}
			epoch := saved[stage]
			if epoch == 0 {
				s.emit(Event{Kind: StageStart, Stage: stage, Epochs: 4, Steps: 12})
			} else {
				s.emit(Event{Kind: Resume, Stage: stage, Epoch: epoch, Step: 3 * epoch, File: "stages/" + stage + "/checkpoint.safetensors"})
			}
			s.train(stage, 3*epoch, 12)
			s.end(stage)
		}
		s.emit(Event{Kind: Result, Method: "assembling", Values: Values{Top1: 20}})
		s.emit(Event{Kind: Done})
		if got := timeless(Fold(s.events)); !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Fatalf("killed after event %d (%+v):\n%s\nwant\n%s", n, whole.events[n-1], a, b)
		}
	}
}

func TestFold(t *testing.T) {
	whole := uninterrupted()
	s := Fold(whole.events)
	meta := s.Stage("meta")
	if s.Phase != Finished || meta.Phase != Finished || meta.Epoch != 4 || meta.Step != 12 || len(meta.Points) != 4 || len(s.Warnings) != 4 {
		t.Errorf("state %+v", s)
	}
	if best, ok := meta.Best(); !ok || best.Epoch != 2 || best.Values[Top1] != 20 {
		t.Errorf("best %+v, want epoch 2 at 20", best)
	}
	if p := meta.Points[2]; p.Epoch != 3 || p.Step != 9 || !reflect.DeepEqual(p.Values, Values{Loss: 2, Speed: 100, EvalLoss: 4, Top1: 0}) {
		t.Errorf("point %+v", p)
	}
	if got := meta.Last.Get(LR); got != 0.1 {
		t.Errorf("lr %v", got)
	}
	if !math.IsNaN(meta.Last.Get("unknown")) {
		t.Error("a value that was never reported is not NaN")
	}
	if s.Elapsed != float64(len(whole.events)-1) {
		t.Errorf("elapsed %v s, want %d", s.Elapsed, len(whole.events)-1)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

func TestResumeDropsWhatCameAfter(t *testing.T) {
	s := &script{}
	s.emit(Event{Kind: StageStart, Stage: "meta", Epochs: 4, Steps: 12})
	s.train("meta", 0, 11)
	s.emit(Event{Kind: Resume, Stage: "meta", Epoch: 1, Step: 5, File: "stages/meta/checkpoint-1-2.safetensors"})
	state := Fold(s.events)
	st := state.Stage("meta")
	if len(st.Points) != 1 || st.Points[0].Epoch != 1 || st.Epoch != 1 || st.Step != 5 || st.Last[Loss] != 4 || st.Checkpoint != "stages/meta/checkpoint-1-2.safetensors" {
		t.Errorf("resumed in epoch 2: %+v", st)
	}
	if len(state.Warnings) != 1 || state.Warnings[0].Step != 5 {
		t.Errorf("warnings %+v, want that of step 5", state.Warnings)
	}
	s.emit(Event{Kind: Eval, Stage: "meta", Values: Values{Top1: 1}})
	s.emit(Event{Kind: StageStart, Stage: "meta", Epochs: 4, Steps: 12})
	st = Fold(s.events).Stage("meta")
	if len(st.Points) != 0 || st.Epoch != 0 || st.Step != 0 || st.Last != nil || st.Checkpoint != "" {
		t.Errorf("started again: %+v", st)
	}
}

func TestElapsedSumsAttempts(t *testing.T) {
	s := &script{now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s.emit(Event{Kind: RunStart, Plan: testPlan})
	s.emit(Event{Kind: StageStart, Stage: "meta", Steps: 12})
	s.train("meta", 0, 2) // killed 2 s after the stage's start, 3 s after the run's
	s.now = s.now.Add(time.Hour)
	s.emit(Event{Kind: RunStart, Plan: testPlan})
	s.emit(Event{Kind: StageStart, Stage: "meta", Steps: 12})
	s.train("meta", 0, 1)
	st := Fold(s.events)
	if st.Elapsed != 3+2 || st.Stage("meta").Elapsed != 2+1 || st.Attempts != 2 || st.Stage("meta").Attempts != 2 {
		t.Errorf("run %v s in %d attempts, stage %v s in %d; want 5, 2, 3, 2",
			st.Elapsed, st.Attempts, st.Stage("meta").Elapsed, st.Stage("meta").Attempts)
	}
	s.now = s.now.Add(-2 * time.Hour) // the clock was set back
	s.train("meta", 1, 2)
	if st := Fold(s.events); st.Elapsed < 0 || st.Stage("meta").Elapsed < 0 {
		t.Errorf("elapsed %v s and %v s", st.Elapsed, st.Stage("meta").Elapsed)
	}
}

func TestETA(t *testing.T) {
	s := &script{now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s.emit(Event{Kind: RunStart, Plan: testPlan}) // costs 1 and 3
	if _, ok := Fold(s.events).ETA(s.now); ok {
		t.Error("known before the first step")
	}
	s.emit(Event{Kind: StageStart, Stage: "meta", Epochs: 4, Steps: 12})
	s.now = s.now.Add(8 * time.Second)
	s.emit(Event{Kind: Step, Stage: "meta", Step: 6}) // half of 1 in 10 s; 3.5 are left
	eta := func(later, want time.Duration) {
		t.Helper()
		if got, ok := Fold(s.events).ETA(s.now.Add(later)); !ok || (got-want).Abs() > time.Millisecond {
			t.Errorf("%v, %v; want %v", got, ok, want)
		}
	}
	eta(0, 70*time.Second)
	eta(20*time.Second, 50*time.Second)
	eta(time.Hour, 0)

	// The machine is twice as fast after a crash, and half of the steps are lost.
	s.now = s.now.Add(time.Hour)
	s.emit(Event{Kind: RunStart, Plan: testPlan})
	s.emit(Event{Kind: Resume, Stage: "meta", Epoch: 1, Step: 3})
	if _, ok := Fold(s.events).ETA(s.now); ok {
		t.Error("known before the first step of the new attempt")
	}
	s.now = s.now.Add(3 * time.Second)
	s.emit(Event{Kind: Step, Stage: "meta", Step: 9}) // from a quarter to three quarters in 5 s
	eta(0, 32500*time.Millisecond)
	s.emit(Event{Kind: Done})
	if _, ok := Fold(s.events).ETA(s.now); ok {
		t.Error("known after the end")
	}
}

func TestPhases(t *testing.T) {
	start := []Event{
		{Kind: RunStart, Plan: testPlan},
		{Kind: StageStart, Stage: "meta", Steps: 12},
	}
	for _, c := range []struct {
		then       []Event
		run, stage Phase
		message    string
	}{
		{nil, Running, Running, ""},
		{[]Event{{Kind: Error, Stage: "meta", Step: 3, Message: "loss is NaN"}}, Failed, Failed, "loss is NaN"},
		{[]Event{{Kind: Error, Message: "disk full"}}, Failed, Running, "disk full"},
		{[]Event{{Kind: Interrupted, Message: "SIGTERM"}}, Stopped, Waiting, "SIGTERM"},
		{[]Event{{Kind: Error, Stage: "meta", Message: "x"}, {Kind: RunStart}}, Running, Waiting, ""},
		{[]Event{{Kind: "of-the-future", Stage: "meta", Step: 99}}, Running, Running, ""},
	} {
		s := Fold(append(append([]Event(nil), start...), c.then...))
		if s.Phase != c.run || s.Stage("meta").Phase != c.stage || s.Message != c.message {
			t.Errorf("%+v: run %s, stage %s, %q; want %s, %s, %q", c.then, s.Phase, s.Stage("meta").Phase, s.Message, c.run, c.stage, c.message)
		}
	}
}

func TestStagesKeepThePlansOrder(t *testing.T) {
	s := Fold([]Event{
		{Kind: StageStart, Stage: "module-1"},
		{Kind: Step, Stage: "extra"},
		{Kind: RunStart, Plan: testPlan},
	})
	var names []string
	for _, st := range s.Stages {
		names = append(names, st.Name)
	}
	if !reflect.DeepEqual(names, []string{"meta", "module-1"}) { // not the extra stage, which is not in the plan
		t.Errorf("order %v", names)
	}
}

// TestFoldPause checks that a pause of an hour does not count in elapsed times and does not
// affect the remaining time.
func TestFoldPause(t *testing.T) {
	s := &script{now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s.emit(Event{Kind: RunStart, Plan: testPlan})
	s.emit(Event{Kind: StageStart, Stage: "meta", Epochs: 4, Steps: 12})
	s.train("meta", 0, 6)
	s.emit(Event{Kind: Pause, Stage: "meta", Epoch: 3, Step: 6})
	paused := Fold(s.events)
	if paused.Phase != Paused || paused.Stage("meta").Phase != Running {
		t.Errorf("phase %v, the stage's %v", paused.Phase, paused.Stage("meta").Phase)
	}
	if _, ok := paused.ETA(s.now); ok {
		t.Error("a paused run is expected to end")
	}
	s.now = s.now.Add(time.Hour)
	s.emit(Event{Kind: Continue, Stage: "meta", Epoch: 3, Step: 6})
	on := Fold(s.events)
	if on.Phase != Running || on.Elapsed != paused.Elapsed || on.Stage("meta").Elapsed != paused.Stage("meta").Elapsed {
		t.Errorf("%v after %v and %v s, want %v and %v", on.Phase, on.Elapsed, on.Stage("meta").Elapsed, paused.Elapsed, paused.Stage("meta").Elapsed)
	}
	s.train("meta", 6, 7)
	// A step took a second; 5 steps of cost 1/12 and 12 of cost 3/12 are left.
	if eta, ok := Fold(s.events).ETA(s.now); !ok || eta.Round(time.Millisecond) != 41*time.Second {
		t.Errorf("ready in %v, %v; want 41s", eta, ok)
	}
}

// TestRemovedStage checks that the time of a stage that was removed and trained again counts
// only the second training, and that a stage that was killed before its first checkpoint keeps
// its time.
func TestRemovedStage(t *testing.T) {
	s := uninterrupted()
	second := *s
	second.events = nil
	second.now = s.now.Add(time.Hour)
	second.emit(Event{Kind: RunStart, Plan: testPlan})
	second.emit(Event{Kind: StageStart, Stage: "module-1", Epochs: 4, Steps: 12})
	second.train("module-1", 0, 2)
	killed := Fold(append(s.events, second.events...)).Stage("module-1")
	if killed.Elapsed != 2 || killed.Attempts != 1 || !killed.Started.Equal(second.events[1].Time) {
		t.Errorf("removed: %v s, %d attempts, since %v", killed.Elapsed, killed.Attempts, killed.Started)
	}
	second.emit(Event{Kind: RunStart, Plan: testPlan})
	second.emit(Event{Kind: StageStart, Stage: "module-1", Epochs: 4, Steps: 12})
	second.train("module-1", 0, 2)
	again := Fold(append(s.events, second.events...)).Stage("module-1")
	if again.Elapsed != 4 || again.Attempts != 2 {
		t.Errorf("killed: %v s, %d attempts", again.Elapsed, again.Attempts)
	}
}
