package runs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
	"time"
)

// journal appends events to a file of lines. A line counts once its line break is
// there; what a killed process or a full disk left behind the last one is cut
// off before the next line is written.
type journal struct {
	mu   sync.Mutex
	file journalFile
	size int64 // of the whole lines
	torn bool  // something may follow them
}

// journalFile is what a journal needs of an *os.File.
type journalFile interface {
	io.Writer
	Truncate(size int64) error
	Sync() error
	Close() error
}

func openJournal(path string) (*journal, error) {
	f, err := openRegularFor(path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &journal{file: f, size: size}, nil
}

// wholeLines returns the length of a file up to and including its last line
// break. It reads backwards, since a journal can be long.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	for end > 0 {
		b := buf[:min(int64(len(buf)), end)]
		if _, err := f.ReadAt(b, end-int64(len(b))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
	}
	return 0, nil
}

func (j *journal) append(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.torn {
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
		j.torn = false
	}
	if _, err := j.file.Write(line); err != nil {
		j.torn = true
		return err
	}
	j.size += int64(len(line))
	return nil
}

// sync returns when all events so far would survive a power cut.
func (j *journal) sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Sync()
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.file.Sync(), j.file.Close())
}

// ReadEvents returns the events of the run in dir so far. A line that is not
// an event becomes a warning that names it; a last line without its line break
// is not written yet. Where stages have processes of their own, their events
// are put together by time; those of one stage keep their order.
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

// pollEvery is how often Follow looks for new events.
const pollEvery = 200 * time.Millisecond

// Follow yields the events of the run in dir from the first on and waits for
// more until ctx is done, which ends the sequence without an error. An error
// ends it too.
func Follow(ctx context.Context, dir string) iter.Seq2[Event, error] {
	return follow(ctx, dir, false)
}

// FollowState is Follow for those who fold: where several step events stand in
// a row already, it yields only the last of each stage, which comes to the same
// state (of the values of steps, the last count) at a tenth of the time.
func FollowState(ctx context.Context, dir string) iter.Seq2[Event, error] {
	return follow(ctx, dir, true)
}

// ReadState folds the events of the run in dir so far.
func ReadState(dir string) (*State, error) {
	r, err := openReader(dir, true)
	if err != nil {
		return nil, err
	}
	defer r.close()
	s := Fold(nil)
	for {
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

func follow(ctx context.Context, dir string, thin bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r, err := openReader(dir, thin)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer r.close()
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			e, err := r.next()
			switch {
			case err == io.EOF:
				select {
				case <-ctx.Done():
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
}

// tail reads a journal that may still grow.
type tail struct {
	file *os.File
	in   *bufio.Reader
	at   int64 // where the next line begins
	line int   // its number

	thin bool   // see FollowState
	held []line // read and not returned yet
}

// line is a line of a journal that is not decoded yet.
type line struct {
	text   []byte
	number int
	stage  string // of a step event
}

func openTail(path string, thin bool) (*tail, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	return &tail{file: f, in: bufio.NewReader(f), line: 1, thin: thin}, nil
}

// next returns io.EOF where there is no whole line yet; later there may be.
func (t *tail) next() (Event, error) {
	if len(t.held) == 0 {
		if err := t.fill(); err != nil {
			return Event{}, err
		}
	}
	l := t.held[0]
	t.held = t.held[1:]
	var e Event
	if err := json.Unmarshal(l.text, &e); err != nil {
		e = Event{Kind: Warning, Message: fmt.Sprintf("%s: line %d is not an event and is skipped: %v", t.file.Name(), l.number, err)}
	}
	return e, nil
}

// fill reads a line or, thinned, the steps that stand in a row and the line
// after them.
func (t *tail) fill() error {
	for {
		l, err := t.read()
		if err == io.EOF && len(t.held) > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if l.stage != "" {
			t.held = slices.DeleteFunc(t.held, func(h line) bool { return h.stage == l.stage })
		}
		t.held = append(t.held, l)
		if l.stage == "" {
			return nil
		}
	}
}

// read returns the next whole line.
func (t *tail) read() (line, error) {
	text, err := t.in.ReadBytes('\n')
	if err == io.EOF {
		// The torn line is read again as a whole: before its end is written,
		// a resumed run may replace it.
		if _, err := t.file.Seek(t.at, io.SeekStart); err != nil {
			return line{}, fmt.Errorf("runs: %w", err)
		}
		t.in.Reset(t.file)
		return line{}, io.EOF
	}
	if err != nil {
		return line{}, fmt.Errorf("runs: %w", err)
	}
	l := line{text: text, number: t.line}
	if t.thin {
		l.stage = stepStage(text)
	}
	t.at += int64(len(text))
	t.line++
	return l, nil
}

// stepStage returns the stage of a step event as Emit writes it, "" for any
// other line.
func stepStage(text []byte) string {
	const longestTime = 64 // before the kind
	_, rest, ok := bytes.Cut(text[:min(len(text), longestTime+maxName)], []byte(`,"kind":"step","stage":"`))
	if !ok {
		return ""
	}
	stage, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return ""
	}
	return string(stage)
}
