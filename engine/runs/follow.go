package runs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"time"
)

// ReadEvents returns the events of the run in dir so far. A line that is not an event
// becomes a warning with its line number. A last line without a newline is still being
// written and is left out. If stages have their own processes, their events are merged by
// time; events of one stage keep their order.
//
// ReadEvents keeps all events in memory, and there can be millions. Use ReadState, Attach
// or Follow to read them one at a time.
func ReadEvents(dir string) ([]Event, error) {
	r, err := openReader(dir, false)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var events []Event
	for {
		e, err := r.next()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
}

// ReadState folds the events of the run in dir so far. It returns the error of ctx when
// that is done.
func ReadState(ctx context.Context, dir string) (*State, error) {
	r, err := openReader(dir, true)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.fold(ctx)
}

// fold folds the events so far. It returns the error of ctx when that is done.
func (r *reader) fold(ctx context.Context) (*State, error) {
	s := Fold(nil)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := r.next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		s.Apply(e)
	}
}

// pollEvery is the interval at which Follow checks for new events.
const pollEvery = 200 * time.Millisecond

// Follow yields the events of the run in dir, from the first one, and waits for more until
// ctx is done, which ends the sequence without an error. An error ends it too.
func Follow(ctx context.Context, dir string) iter.Seq2[Event, error] {
	return follow(ctx, dir, false, nil)
}

// FollowState is Follow for callers that only fold the events. It takes a tenth of the
// time, since of several step events in a row it yields only the last one of each stage.
// The state is the same, since it keeps only the last values of steps. atEnd, which may be
// nil, is called whenever all events so far have been yielded.
func FollowState(ctx context.Context, dir string, atEnd func()) iter.Seq2[Event, error] {
	return follow(ctx, dir, true, atEnd)
}

func follow(ctx context.Context, dir string, thin bool, atEnd func()) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r, err := openReader(dir, thin)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer r.close()
		poll(ctx, r.next, nil, atEnd, yield)
	}
}

// poll yields events from next until ctx is done, next fails, or ended is closed and next
// returns io.EOF. io.EOF means that there are no more events at present.
func poll(ctx context.Context, next func() (Event, error), ended <-chan struct{}, atEnd func(), yield func(Event, error) bool) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		last := false
		select {
		case <-ended: // checked before reading, so that no event written before ended was closed is missed
			last = true
		default:
		}
		e, err := next()
		switch {
		case errors.Is(err, io.EOF):
			if atEnd != nil {
				atEnd()
			}
			if last {
				return
			}
			select {
			case <-ctx.Done():
			case <-ended:
			case <-tick.C:
			}
		case err != nil:
			yield(Event{}, err)
			return
		case !yield(e, nil):
			return
		}
	}
}

// Follower reads events that are written after it was created.
type Follower struct {
	next  func() (Event, error)
	close func()
}

// Attach folds the events of the run in dir so far, and returns the state and a follower of
// later events. It keeps no events in memory. It returns the error of ctx if that is done
// before all events are read.
func Attach(ctx context.Context, dir string) (*State, *Follower, error) {
	r, err := openReader(dir, true)
	if err != nil {
		return nil, nil, err
	}
	s, err := r.fold(ctx)
	if err != nil {
		r.close()
		return nil, nil, err
	}
	r.setThin(false)
	return s, &Follower{r.next, r.close}, nil
}

// Follow returns a follower of the events that this process writes from now on.
func (r *Run) Follow() (*Follower, error) {
	t, err := openTail(filepath.Clean(r.eventsPath()), false)
	if err != nil {
		return nil, err
	}
	if err := t.seek(r.events.length()); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("runs: %w", err)
	}
	return &Follower{t.next, func() { t.file.Close() }}, nil
}

// Events yields events as they are written, until ctx is done, or until ended is
// closed and all events written before that have been yielded. An error ends the
// sequence too.
func (f *Follower) Events(ctx context.Context, ended <-chan struct{}) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { poll(ctx, f.next, ended, nil, yield) }
}

// Close closes the journals.
func (f *Follower) Close() { f.close() }
