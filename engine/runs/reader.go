package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// reader reads all journals of a run, which may still grow: that of the whole run and, for
// each stage, those of its attempts one after another. It merges the events of different
// stages by time, as far as they have been written. Clocks of different machines need not
// agree, since events of one stage do not depend on those of another.
type reader struct {
	dir      string
	thin     bool // see FollowState
	streams  []*stream
	lastScan time.Time
}

// stream reads the journal of the whole run, or the journals of the attempts at a stage.
type stream struct {
	stage   string // "" for the whole run
	tail    *tail
	attempt int    // the attempt that tail reads
	pending []int  // later attempts
	head    *Event // the next event, nil if it has not been read
}

// rescanEvery is the interval at which a reader checks for new attempts.
const rescanEvery = time.Second

func openReader(dir string, thin bool) (*reader, error) {
	t, err := openTail(filepath.Join(dir, eventsFile), thin)
	if err != nil {
		return nil, err
	}
	r := &reader{dir: dir, thin: thin, streams: []*stream{{tail: t}}}
	if err := r.rescan(time.Now()); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	for _, s := range r.streams {
		if s.tail != nil {
			s.tail.file.Close()
		}
	}
}

// setThin sets whether later events are thinned. The reader must have read all events that
// have been written.
func (r *reader) setThin(thin bool) {
	r.thin = thin
	for _, s := range r.streams {
		if s.tail != nil {
			s.tail.thin = thin
		}
	}
}

// rescan adds journals that are new.
func (r *reader) rescan(now time.Time) error {
	r.lastScan = now
	all, err := listAttempts(r.dir)
	if err != nil {
		return fmt.Errorf("runs: %w", err)
	}
	for _, a := range all {
		s := r.stream(a.stage)
		last := s.attempt
		if n := len(s.pending); n > 0 {
			last = s.pending[n-1]
		}
		if a.number > last {
			s.pending = append(s.pending, a.number)
		}
	}
	return nil
}

func (r *reader) stream(stage string) *stream {
	for _, s := range r.streams {
		if s.stage == stage {
			return s
		}
	}
	s := &stream{stage: stage}
	r.streams = append(r.streams, s)
	return s
}

// next returns the next event, or io.EOF if there is none yet.
func (r *reader) next() (Event, error) {
	var first *stream
	for _, s := range r.streams {
		if err := r.fill(s); err != nil {
			return Event{}, err
		}
		if s.head != nil && (first == nil || s.head.Time.Before(first.head.Time)) {
			first = s
		}
	}
	if first != nil {
		e := *first.head
		first.head = nil
		return e, nil
	}
	if now := time.Now(); now.Sub(r.lastScan) >= rescanEvery {
		before := len(r.streams)
		if err := r.rescan(now); err != nil {
			return Event{}, err
		}
		for _, s := range r.streams {
			if len(s.pending) > 0 || len(r.streams) > before {
				return r.next()
			}
		}
	}
	return Event{}, io.EOF
}

// fill reads the next event of a stream into its head. Once a later attempt has started, it
// does not wait for further events of the earlier one.
func (r *reader) fill(s *stream) error {
	for s.head == nil {
		if s.tail != nil {
			e, err := s.tail.next()
			if err == nil {
				if s.stage != "" {
					e.Stage, e.Attempt = s.stage, s.attempt
				}
				s.head = &e
				return nil
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
		if len(s.pending) == 0 {
			return nil
		}
		n := s.pending[0]
		t, err := openTail(attemptPath(r.dir, s.stage, n, ".jsonl"), r.thin)
		if errors.Is(err, fs.ErrNotExist) { // the folder is being deleted
			return nil
		}
		if err != nil {
			return err
		}
		if s.tail != nil {
			s.tail.file.Close()
		}
		s.tail, s.attempt, s.pending = t, n, s.pending[1:]
	}
	return nil
}
