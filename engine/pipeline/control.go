package pipeline

import (
	"context"
	"sync"
	"time"

	"hatchery/engine/runs"
)

// Control sends requests to Execute: to pause, to continue, or to stop at the end of an
// epoch. Its state shows when the request has been carried out. To stop a run at once, cancel
// the context of Execute. Methods may be called from any goroutine; a nil *Control makes no
// requests.
type Control struct {
	mu      sync.Mutex
	state   ControlState
	changed chan struct{} // closed at the next change
}

// ControlState holds the requests to a run and how far they have been carried out.
type ControlState struct {
	Started        bool `json:"started"`          // the first event has been written
	Pausing        bool `json:"pausing"`          // a pause was requested
	Paused         bool `json:"paused"`           // the run is paused
	StopAfterEpoch bool `json:"stop_after_epoch"` // a stop after the current epoch was requested
}

// NewControl returns a Control without requests.
func NewControl() *Control { return &Control{changed: make(chan struct{})} }

// Pause asks the run to save a checkpoint and idle before its next training step. The run
// keeps its memory and its threads.
func (c *Control) Pause() { c.change(func(s *ControlState) { s.Pausing = true }) }

// Continue cancels Pause.
func (c *Control) Continue() { c.change(func(s *ControlState) { s.Pausing = false }) }

// StopAfterEpoch asks the run to stop after the current epoch, which is evaluated and saved
// as usual. A stage without epochs counts as one epoch.
func (c *Control) StopAfterEpoch() { c.change(func(s *ControlState) { s.StopAfterEpoch = true }) }

// State returns the current state.
func (c *Control) State() ControlState {
	s, _ := c.snapshot()
	return s
}

// Await waits until wanted returns true for the state. It returns the error of ctx if that is
// done first.
func (c *Control) Await(ctx context.Context, wanted func(ControlState) bool) error {
	for {
		s, changed := c.snapshot()
		if wanted(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (c *Control) snapshot() (ControlState, <-chan struct{}) {
	if c == nil {
		return ControlState{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.changed
}

func (c *Control) change(f func(*ControlState)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
	close(c.changed)
	c.changed = make(chan struct{})
}

// shouldStop reports whether the run must stop at the end of an epoch or a stage.
func (r *runner) shouldStop(ctx context.Context) bool {
	return ctx.Err() != nil || r.control.State().StopAfterEpoch
}

// pause idles until the pause ends.
func (t *training) pause(ctx context.Context) error {
	// A pause can be long, and the machine may fail during it. At the end of an epoch,
	// a checkpoint has already been saved.
	if t.partial > 0 {
		if _, err := t.save(nil); err != nil {
			return err
		}
	}
	if err := t.announce(runs.Pause, runs.Paused); err != nil {
		return err
	}
	t.control.change(func(s *ControlState) { s.Paused = true })
	err := t.control.Await(ctx, func(s ControlState) bool { return !s.Pausing })
	if err != nil {
		return t.stop(ctx, err)
	}
	if err := t.announce(runs.Continue, runs.Running); err != nil {
		return err
	}
	t.control.change(func(s *ControlState) { s.Paused = false })
	t.lastReport, t.lastSave, t.unreportedSteps, t.secondsAtReport = time.Now(), time.Now(), 0, t.spent.seconds
	return nil
}

// announce writes to the events and the status that the run pauses or continues.
func (t *training) announce(kind runs.Kind, phase runs.Phase) error {
	epoch := t.epoch
	if t.partial > 0 {
		epoch++
	}
	err := t.run.Emit(runs.Event{Kind: kind, Stage: t.stages[0].Name, Epoch: epoch, Step: t.step()})
	if err != nil {
		return err
	}
	return t.run.SetPhase(phase)
}
