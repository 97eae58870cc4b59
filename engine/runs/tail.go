package runs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// tail reads a journal that may still grow. It holds at most one line of each stage
// in memory, and at most maxLine bytes of a line.
type tail struct {
	file *os.File
	in   *bufio.Reader
	at   int64 // where the next line begins
	line int   // its number
	long int64 // bytes of it that have been skipped, if it is longer than maxLine

	doubted int64 // where the last line began that was read again, since it was no event; -1: none was

	thin     bool   // see FollowState
	held     []line // lines that have been read; their buffers are reused
	returned int    // how many of held next has returned
}

// line is a line of a journal that has not been decoded.
type line struct {
	text   []byte
	number int
	at     int64  // where it begins
	stage  string // of a step event, otherwise ""
	err    error  // why it is not an event
}

const (
	// maxLine is the length in bytes of the longest line that can be an event. The
	// plan of a run with a thousand stages takes a tenth of it.
	maxLine = 1 << 20
	// maxRow is how many step events are skipped at once, before a reader can check
	// whether it should stop.
	maxRow = 4096
)

var errLong = errors.New("it is longer than any event")

func openTail(path string, thin bool) (*tail, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	return &tail{file: f, in: bufio.NewReaderSize(f, 64<<10), line: 1, doubted: -1, thin: thin}, nil
}

// seek moves to an offset at which a line begins. Lines are counted from there.
func (t *tail) seek(at int64) error {
	_, err := t.file.Seek(at, io.SeekStart)
	t.in.Reset(t.file)
	t.at = at
	return err
}

// next returns io.EOF where there is no whole line yet; later there may be.
func (t *tail) next() (Event, error) {
	if t.returned == len(t.held) {
		t.held, t.returned = t.held[:0], 0
		if err := t.fill(); err != nil {
			return Event{}, err
		}
	}
	l := &t.held[t.returned]
	t.returned++
	var e Event
	err := l.err
	if err == nil {
		err = json.Unmarshal(l.text, &e)
	}
	if err != nil && l.err == nil && l.at != t.doubted {
		// A resumed run may have replaced an incomplete line while it was being read,
		// and then this is the beginning of one and the end of the other.
		t.doubted, t.line = l.at, l.number
		if err := t.seek(l.at); err != nil {
			return Event{}, fmt.Errorf("runs: %w", err)
		}
		t.held, t.returned = t.held[:0], 0
		return t.next()
	}
	if err != nil {
		e = Event{Kind: Warning, Message: fmt.Sprintf("%s: line %d is not an event, and is skipped: %v", t.file.Name(), l.number, err)}
	}
	return e, nil
}

// fill reads a line or, if the journal is thinned, a row of step events and the
// line after them.
func (t *tail) fill() error {
	for range maxRow {
		text, err := t.read()
		if err == io.EOF && len(t.held) > 0 {
			return nil
		}
		if err != nil && err != errLong {
			return err
		}
		var stage []byte
		if t.thin {
			stage = stepStage(text)
		}
		l := t.hold(stage)
		l.text, l.number, l.at, l.err = append(l.text[:0], text...), t.line, t.at-int64(len(text)), err
		t.line++
		if stage == nil {
			return nil
		}
	}
	return nil
}

// hold returns the slot for a line, which becomes the last one. If a step event of
// the same stage is held, the slot is that of this event; otherwise it is new.
func (t *tail) hold(stage []byte) *line {
	last := len(t.held)
	i := 0
	for i < last && (stage == nil || t.held[i].stage != string(stage)) {
		i++
	}
	switch {
	case i < last:
		last--
		l := t.held[i]
		copy(t.held[i:], t.held[i+1:])
		t.held[last] = l
	case last < cap(t.held):
		t.held = t.held[:last+1]
		t.held[last].stage = string(stage)
	default:
		t.held = append(t.held, line{stage: string(stage)})
	}
	return &t.held[last]
}

// read returns the next whole line, which is valid until the next call. For a line
// that is too long it returns errLong.
func (t *tail) read() ([]byte, error) {
	text, err := t.readLine()
	if err == io.EOF {
		// Next time the incomplete line is read again from its beginning, since a
		// resumed run may replace it. If it is too long already, only its end is
		// still looked for, unless the file has been truncated.
		if info, err := t.file.Stat(); err == nil && info.Size() < t.at+t.long {
			t.long = 0
		}
		if _, err := t.file.Seek(t.at+t.long, io.SeekStart); err != nil {
			return nil, fmt.Errorf("runs: %w", err)
		}
		t.in.Reset(t.file)
		return nil, io.EOF
	}
	if err != nil && err != errLong {
		return nil, fmt.Errorf("runs: %w", err)
	}
	t.at += int64(len(text)) + t.long
	t.long = 0
	return text, err
}

// readLine returns a line with its line break. For a line that is too long it
// returns errLong, and sets t.long to its length.
func (t *tail) readLine() ([]byte, error) {
	part, err := t.in.ReadSlice('\n')
	if t.long == 0 && err != bufio.ErrBufferFull {
		return part, err // the usual case
	}
	var text []byte
	for ; ; part, err = t.in.ReadSlice('\n') {
		if t.long == 0 && len(text)+len(part) <= maxLine {
			text = append(text, part...)
		} else {
			t.long += int64(len(text) + len(part))
			text = nil
		}
		if err == nil && t.long > 0 {
			return nil, errLong
		}
		if err != bufio.ErrBufferFull {
			return text, err
		}
	}
}

// stepStage returns the stage of a step event in the form in which Emit writes it,
// nil for any other line.
func stepStage(text []byte) []byte {
	const longestTime = 64 // before the kind
	_, rest, ok := bytes.Cut(text[:min(len(text), longestTime+maxName)], stepBegins)
	if !ok {
		return nil
	}
	stage, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok || len(stage) == 0 {
		return nil
	}
	return stage
}

var stepBegins = []byte(`,"kind":"step","stage":"`)
