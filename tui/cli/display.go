package cli

import (
	"context"
	"fmt"
	"time"

	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// viewer shows events.
type viewer interface {
	// event shows e. state is the state of the run after e.
	event(e runs.Event, state *runs.State) error
}

// folding returns a function that applies an event to the state of the run in dir. At
// the end of the run it also takes the results of stages from their done files, since a
// damaged journal may lack their events.
func folding(dir string) func(*runs.State, runs.Event) *runs.State {
	return func(s *runs.State, e runs.Event) *runs.State {
		s.Apply(e)
		if e.Kind == runs.Done {
			s.ApplyOutcomes(dir)
		}
		return s
	}
}

// display shows the events that f reads, in a goroutine. next applies an event to a state
// and returns the new state. The caller must call end, which waits until all events so far
// have been shown, or ctx is done. display closes f.
//
// The events are read from the journal, so a slow reader of the output neither delays the
// run nor costs memory.
func (a *App) display(ctx context.Context, f *runs.Follower, state *runs.State, next func(*runs.State, runs.Event) *runs.State, show viewer) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	ended, shown := make(chan struct{}), make(chan struct{})
	out, decoupled := printable.Raw(a.Out).(*outlet)
	go func() {
		defer close(shown)
		defer f.Close()
		for e, err := range f.Events(ctx, ended) {
			if err == nil {
				state = next(state, e)
				err = show.event(e, state)
			}
			if err != nil {
				fmt.Fprintf(a.Err, "hatchery: the run's events can no longer be shown: %v\n", err)
				return
			}
			if decoupled && out.waitForRoom(ctx) != nil {
				return
			}
		}
	}()
	return func() {
		defer stop()
		close(ended)
		tick := time.NewTicker(maxIdle / 20)
		defer tick.Stop()
		for {
			select {
			case <-shown:
				return
			case <-tick.C:
				if decoupled && out.idle() > maxIdle {
					stop() // the reader has stopped reading
				}
			}
		}
	}
}
