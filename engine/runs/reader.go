package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// reader reads all journals of a run that may still grow: that of the run as a
// whole and, for each stage, those of its attempts one after another. Journals
// of different stages are told in the order of their times as far as they are
// known; clocks of different machines need not agree, since no event of one
// stage says anything of another.
type reader struct {
	dir     string
	thin    bool // see FollowState
	streams []*stream
	scanned time.Time
}

// stream is the journals of the whole run, or of a stage's attempts.
type stream struct {
	stage   string // "" of the whole run
	at      *tail
	attempt int   // that is being read
	later   []int // attempts whose journals are not open yet
	head    *Event
}

// rescanEvery is the time between two looks for new attempts.
const rescanEvery = time.Second

func openReader(dir string, thin bool) (*reader, error) {
	t, err := openTail(filepath.Join(dir, eventsFile), thin)
	if err != nil {
		return nil, err
	}
	r := &reader{dir: dir, thin: thin, streams: []*stream{{at: t}}}
	if err := r.rescan(time.Now()); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	for _, s := range r.streams {
		if s.at != nil {
			s.at.file.Close()
		}
	}
}

// setThin sets whether later events are thinned. The reader must have reached the
// end of what has been written.
func (r *reader) setThin(thin bool) {
	r.thin = thin
	for _, s := range r.streams {
		if s.at != nil {
			s.at.thin = thin
		}
	}
}

// rescan looks for journals that are new.
func (r *reader) rescan(now time.Time) error {
	r.scanned = now
	all, err := listAttempts(r.dir)
	if err != nil {
		return fmt.Errorf("runs: %w", err)
	}
	for _, a := range all {
		s := r.stream(a.stage)
		last := s.attempt
		if n := len(s.later); n > 0 {
			last = s.later[n-1]
		}
		if a.number > last {
			s.later = append(s.later, a.number)
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

// next returns io.EOF where there is no event yet; later there may be.
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
	if now := time.Now(); now.Sub(r.scanned) >= rescanEvery {
		before := len(r.streams)
		if err := r.rescan(now); err != nil {
			return Event{}, err
		}
		for _, s := range r.streams {
			if len(s.later) > 0 || len(r.streams) > before {
				return r.next()
			}
		}
	}
	return Event{}, io.EOF
}

// fill reads the next event of a stream, if it has none and there is one. What
// an attempt writes when the next one has begun is not waited for.
func (r *reader) fill(s *stream) error {
	for s.head == nil {
		if s.at != nil {
			e, err := s.at.next()
			if err == nil {
				if s.stage != "" {
					e.Stage, e.Attempt = s.stage, s.attempt
				}
				s.head = &e
				return nil
			}
			if err != io.EOF {
				return err
			}
		}
		if len(s.later) == 0 {
			return nil
		}
		n := s.later[0]
		t, err := openTail(attemptPath(r.dir, s.stage, n, ".jsonl"), r.thin)
		if errors.Is(err, fs.ErrNotExist) { // the folder is being deleted
			return nil
		}
		if err != nil {
			return err
		}
		if s.at != nil {
			s.at.file.Close()
		}
		s.at, s.attempt, s.later = t, n, s.later[1:]
	}
	return nil
}
