package runs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"time"
)

// ReadEvents returns the events of the run in dir so far. A line that is not an
// event becomes a warning that names it. A last line without a line break is still
// being written and is left out. If stages have processes of their own, their events
// are merged by time, and events of one stage keep their order.
//
// ReadEvents holds all events in memory, and there can be millions. Use ReadState,
// Attach or Follow to read them one after another.
func ReadEvents(dir string) ([]Event, error) {
	r, err := openReader(dir, false)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var events []Event
	for {
		e, err := r.next()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
}

// ReadState folds the events of the run in dir so far. When ctx is done it returns its
// error.
func ReadState(ctx context.Context, dir string) (*State, error) {
	r, err := openReader(dir, true)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.fold(ctx)
}

// fold folds the events so far. When ctx is done it returns its error.
func (r *reader) fold(ctx context.Context) (*State, error) {
	s := Fold(nil)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := r.next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		s.Apply(e)
	}
}

// pollEvery is the time between two looks for new events.
const pollEvery = 200 * time.Millisecond

// Follow yields the events of the run in dir from the first on and waits for
// more until ctx is done, which ends the sequence without an error. An error
// ends it too.
func Follow(ctx context.Context, dir string) iter.Seq2[Event, error] {
	return follow(ctx, dir, false, nil)
}

// FollowState is Follow for callers that only fold the events. From a row of step
// events it yields only the last one of each stage, which leads to the same state,
// since that keeps only the last values of steps, in a tenth of the time. atEnd,
// which may be nil, is called whenever all events so far have been yielded.
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

// poll yields what next returns until ctx is done, next fails, or ended is closed
// and next returns io.EOF, which means that there is nothing more at present.
func poll(ctx context.Context, next func() (Event, error), ended <-chan struct{}, atEnd func(), yield func(Event, error) bool) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		over := false
		select {
		case <-ended: // checked before reading, so that events written before it was closed are read
			over = true
		default:
		}
		e, err := next()
		switch {
		case err == io.EOF:
			if atEnd != nil {
				atEnd()
			}
			if over {
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

// Attach folds the events of the run in dir so far, and returns the state and a
// follower of later events. It keeps no events in memory. If ctx is done before all
// events are read, it returns the error of ctx.
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

// Follow returns a follower of the events that this process will write to the run,
// or to its attempt at a stage.
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

// Close closes the files that are read.
func (f *Follower) Close() { f.close() }
