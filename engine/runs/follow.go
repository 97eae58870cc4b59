package runs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"time"
)

// ReadEvents returns the events of the run in dir so far. A line that is not
// an event becomes a warning that names it; a last line without its line break
// is not written yet. Where stages have processes of their own, their events
// are put together by time; those of one stage keep their order.
//
// It holds them all in memory. A program that shows or adds them up reads them
// one after another, with ReadState, Attach or Follow: there can be millions.
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

// ReadState folds the events of the run in dir so far.
func ReadState(dir string) (*State, error) {
	r, err := openReader(dir, true)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.fold(context.Background())
}

// fold adds up the events that are there. When ctx is done it returns its error.
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

// pollEvery is how often it is looked for new events.
const pollEvery = 200 * time.Millisecond

// Follow yields the events of the run in dir from the first on and waits for
// more until ctx is done, which ends the sequence without an error. An error
// ends it too.
func Follow(ctx context.Context, dir string) iter.Seq2[Event, error] {
	return follow(ctx, dir, false, nil)
}

// FollowState is Follow for those who fold: where several step events stand in
// a row already, it yields only the last of each stage, which comes to the same
// state (of the values of steps, the last count) at a tenth of the time. atEnd
// is called whenever all that is written was yielded; it may be nil.
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

// poll yields what next returns until ctx is done, next fails, or ended is
// closed and next has nothing more, which it says with io.EOF.
func poll(ctx context.Context, next func() (Event, error), ended <-chan struct{}, atEnd func(), yield func(Event, error) bool) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		over := false
		select {
		case <-ended: // asked before reading, so that nothing that was written before is missed
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

// Follower reads the events that are written after it was made.
type Follower struct {
	next  func() (Event, error)
	close func()
}

// Attach folds the events of the run in dir so far, and returns beside the state
// a follower for those that come after. It reads no more than it must and keeps
// none of them. When ctx is done before all is read it returns ctx's error.
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

// Follow returns a follower of the events that this process will write into the
// run, or into the attempt at its stage.
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

// Events yields events as they are written until ctx is done, or ended is closed
// and all that was written before was yielded. An error ends the sequence too.
func (f *Follower) Events(ctx context.Context, ended <-chan struct{}) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { poll(ctx, f.next, ended, nil, yield) }
}

// Close closes the files that are read.
func (f *Follower) Close() { f.close() }
