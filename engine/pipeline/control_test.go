package pipeline

import (
	"context"
	"errors"
	"testing"

	"hatchery/engine/runs"
)

// TestControl pauses a run and stops it after epochs, repeatedly. It must end with the weights
// of an uninterrupted run.
func TestControl(t *testing.T) {
	c := config(t)
	want := final(t, c, executeAll(t, c))
	run := newRun(t, c)
	dir := run.Dir()
	attempts := 0
	for {
		control := NewControl()
		ended := make(chan error, 1)
		over, end := context.WithCancel(t.Context())
		control.Pause()
		go func() { ended <- Execute(t.Context(), c, run, control); end() }()
		if control.Await(over, func(s ControlState) bool { return s.Paused }) == nil {
			if s, err := runs.ReadStatus(dir); err != nil || s.Phase != runs.Paused {
				t.Errorf("status %v, %v while paused", s.Phase, err)
			}
			control.StopAfterEpoch()
			control.Continue()
		}
		err := errors.Join(<-ended, run.Close())
		attempts++
		if err == nil {
			break
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		if run, err = runs.Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	// Stages of two epochs each, and stages that only assemble.
	if attempts < 5 {
		t.Fatalf("the run was stopped only %d times", attempts-1)
	}
	same(t, "paused and stopped", want, final(t, c, dir))

	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Kind == runs.Saved && e.Stage == "meta" && e.Step%4 != 0 {
			t.Errorf("event %d: a checkpoint within an epoch, at step %d", i, e.Step)
		}
	}
	state := runs.Fold(events)
	for _, s := range state.Stages {
		if len(s.Points) != max(s.Epochs, 1) {
			t.Errorf("%s has %d points on its curves for %d epochs", s.Name, len(s.Points), s.Epochs)
		}
	}
}

// TestStopPaused checks that a pause ends when the context is done.
func TestStopPaused(t *testing.T) {
	c := config(t)
	run := newRun(t, c)
	defer run.Close()
	control := NewControl()
	control.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Execute(ctx, c, run, control) }()
	if err := control.Await(t.Context(), func(s ControlState) bool { return s.Paused }); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	if s, err := runs.ReadStatus(run.Dir()); err != nil || s.Phase != runs.Stopped {
		t.Errorf("status %v, %v", s.Phase, err)
	}
}

func TestNoControl(t *testing.T) {
	var control *Control
	control.Pause()
	control.StopAfterEpoch()
	if s := control.State(); s != (ControlState{}) {
		t.Errorf("asks for %+v", s)
	}
}
