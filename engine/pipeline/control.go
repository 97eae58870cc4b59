package pipeline

import (
	"context"
	"sync"
	"time"

	"hatchery/engine/runs"
)

// Control asks a run that is being executed to pause, to go on, or to stop at
// the end of an epoch, and says when it has. To stop a run at once, end the
// context of Execute. Its methods may be called from any goroutine; a nil
// *Control asks for nothing.
type Control struct {
	mu    sync.Mutex
	state ControlState
	news  chan struct{} // closed at the next change
}

// ControlState is what was asked of a run and what has become of it.
type ControlState struct {
	Started        bool `json:"started"`          // its first event is written
	Pausing        bool `json:"pausing"`          // it was asked to pause
	Paused         bool `json:"paused"`           // and does nothing
	StopAfterEpoch bool `json:"stop_after_epoch"` // it was asked to stop after the epoch under way
}

// NewControl returns a control that asks for nothing yet.
func NewControl() *Control { return &Control{news: make(chan struct{})} }

// Pause asks the run to idle before its next training step, with its memory
// and its threads kept. It saves a checkpoint first.
func (c *Control) Pause() { c.change(func(s *ControlState) { s.Pausing = true }) }

// Continue takes Pause back.
func (c *Control) Continue() { c.change(func(s *ControlState) { s.Pausing = false }) }

// StopAfterEpoch asks the run to stop after the epoch under way, evaluated and
// saved as if it went on. A stage that has no epochs counts as one.
func (c *Control) StopAfterEpoch() { c.change(func(s *ControlState) { s.StopAfterEpoch = true }) }

// State returns the present state.
func (c *Control) State() ControlState {
	s, _ := c.look()
	return s
}

// Await returns once the state is as wanted, or the error of ctx.
func (c *Control) Await(ctx context.Context, wanted func(ControlState) bool) error {
	for {
		s, news := c.look()
		if wanted(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

func (c *Control) look() (ControlState, <-chan struct{}) {
	if c == nil {
		return ControlState{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.news
}

func (c *Control) change(f func(*ControlState)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
	close(c.news)
	c.news = make(chan struct{})
}

// stopping says whether the run is to stop at the end of an epoch or a stage.
func (r *runner) stopping(ctx context.Context) bool {
	return ctx.Err() != nil || r.control.State().StopAfterEpoch
}

// pause idles for as long as that is asked for.
func (t *training) pause(ctx context.Context) error {
	// A pause can be long, and the machine may not survive it. The end of an
	// epoch is saved already.
	if t.partial > 0 {
		if _, err := t.save(nil); err != nil {
			return err
		}
	}
	if err := t.tell(runs.Pause, runs.Paused); err != nil {
		return err
	}
	t.control.change(func(s *ControlState) { s.Paused = true })
	err := t.control.Await(ctx, func(s ControlState) bool { return !s.Pausing })
	if err != nil {
		return t.stop(ctx, err)
	}
	if err := t.tell(runs.Continue, runs.Running); err != nil {
		return err
	}
	t.control.change(func(s *ControlState) { s.Paused = false })
	t.reported, t.saved, t.unreported, t.before = time.Now(), time.Now(), 0, t.spent.seconds
	return nil
}

// tell writes into events and status that the run pauses or goes on.
func (t *training) tell(kind runs.Kind, phase runs.Phase) error {
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
