package cli

import (
	"context"
	"fmt"
	"time"

	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// viewer shows events as they come, each with the state of the run after it.
type viewer interface {
	event(e runs.Event, state *runs.State) error
}

// folding returns what makes the state of the run in dir after another event of
// the state before. At the end of the run the state has the ends of all stages,
// also those of which the journal has lost the events.
func folding(dir string) func(*runs.State, runs.Event) *runs.State {
	return func(s *runs.State, e runs.Event) *runs.State {
		s.Apply(e)
		if e.Kind == runs.Done {
			s.TakeEnds(dir)
		}
		return s
	}
}

// display has show see what f reads, each event with what next makes of the
// state before, until the function that it returns is called, which waits until
// all that happened before is shown, or ctx is done. It closes f.
//
// The events come from a file, so that nothing waits for a viewer, however slow
// the reader of the output is, and nothing is kept for one.
func (a *App) display(ctx context.Context, f *runs.Follower, state *runs.State, next func(*runs.State, runs.Event) *runs.State, show viewer) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	ended, shown := make(chan struct{}), make(chan struct{})
	out, unhurried := printable.Raw(a.Out).(*outlet)
	go func() {
		defer close(shown)
		defer f.Close()
		for e, err := range f.Events(ctx, ended) {
			if err == nil {
				state = next(state, e)
				err = show.event(e, state)
			}
			if err != nil {
				fmt.Fprintf(a.Err, "hatchery: what happens cannot be shown any more: %v\n", err)
				return
			}
			if unhurried && out.room(ctx) != nil {
				return
			}
		}
	}()
	return func() {
		defer stop()
		close(ended)
		tick := time.NewTicker(patience / 20)
		defer tick.Stop()
		for {
			select {
			case <-shown:
				return
			case <-tick.C:
				if unhurried && out.idle() > patience {
					stop() // nobody reads
				}
			}
		}
	}
}
