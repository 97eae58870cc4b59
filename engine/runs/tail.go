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

// tail reads a journal that may still grow. It keeps at most one line of each stage in
// memory, and at most maxLine bytes of a line.
type tail struct {
	file    *os.File
	in      *bufio.Reader
	offset  int64 // of the next line
	line    int   // its number
	skipped int64 // bytes of it that have been skipped because it is longer than maxLine

	rereadAt int64 // offset of the last line that was read twice because it was not an event; -1 means none

	thin     bool   // see FollowState
	lines    []line // lines that have been read; their buffers are reused
	returned int    // number of lines that next has returned
}

// line is a line of a journal before decoding.
type line struct {
	text   []byte
	number int
	offset int64  // of its first byte in the file
	stage  string // stage of a step event, otherwise ""
	err    error  // why it is not an event
}

const (
	// maxLine is the length in bytes of the longest line that is accepted as an event.
	// The plan of a run with a thousand stages takes a tenth of it.
	maxLine = 1 << 20
	// maxSkipped is the largest number of step events that are read at once, before the
	// reader can check whether it should stop.
	maxSkipped = 4096
)

var errTooLong = errors.New("it is longer than any event")

func openTail(path string, thin bool) (*tail, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	return &tail{file: f, in: bufio.NewReaderSize(f, 64<<10), line: 1, rereadAt: -1, thin: thin}, nil
}

// seek moves to an offset at which a line begins.
func (t *tail) seek(offset int64) error {
	_, err := t.file.Seek(offset, io.SeekStart)
	t.in.Reset(t.file)
	t.offset = offset
	return err
}

// next returns the next event, or io.EOF if there is no complete line yet.
func (t *tail) next() (Event, error) {
	if t.returned == len(t.lines) {
		t.lines, t.returned = t.lines[:0], 0
		if err := t.fill(); err != nil {
			return Event{}, err
		}
	}
	l := &t.lines[t.returned]
	t.returned++
	var e Event
	err := l.err
	if err == nil {
		err = json.Unmarshal(l.text, &e)
	}
	if err != nil && l.err == nil && l.offset != t.rereadAt {
		// A resumed run may have replaced an incomplete line while this line was being
		// read, so that it is the beginning of one line and the end of another.
		t.rereadAt, t.line = l.offset, l.number
		if err := t.seek(l.offset); err != nil {
			return Event{}, fmt.Errorf("runs: %w", err)
		}
		t.lines, t.returned = t.lines[:0], 0
		return t.next()
	}
	if err != nil {
		e = Event{Kind: Warning, Message: fmt.Sprintf("%s: skipping line %d, which is not an event: %v", t.file.Name(), l.number, err)}
	}
	return e, nil
}

// fill reads a line or, if the journal is thinned, consecutive step events and the line
// after them.
func (t *tail) fill() error {
	for range maxSkipped {
		text, err := t.read()
		if errors.Is(err, io.EOF) && len(t.lines) > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, errTooLong) {
			return err
		}
		var stage []byte
		if t.thin {
			stage = stepStage(text)
		}
		l := t.slot(stage)
		l.text, l.number, l.offset, l.err = append(l.text[:0], text...), t.line, t.offset-int64(len(text)), err
		t.line++
		if stage == nil {
			return nil
		}
	}
	return nil
}

// slot returns the slot for the next line, at the end of t.lines. If t.lines has a step
// event of the same stage, its slot is moved to the end and reused.
func (t *tail) slot(stage []byte) *line {
	last := len(t.lines)
	i := 0
	for i < last && (stage == nil || t.lines[i].stage != string(stage)) {
		i++
	}
	switch {
	case i < last:
		last--
		l := t.lines[i]
		copy(t.lines[i:], t.lines[i+1:])
		t.lines[last] = l
	case last < cap(t.lines):
		t.lines = t.lines[:last+1]
		t.lines[last].stage = string(stage)
	default:
		t.lines = append(t.lines, line{stage: string(stage)})
	}
	return &t.lines[last]
}

// read returns the next complete line, which is valid until the next call. It returns
// errTooLong for a line that is too long, and io.EOF if there is no complete line.
func (t *tail) read() ([]byte, error) {
	text, err := t.readLine()
	if errors.Is(err, io.EOF) {
		// The next call reads the incomplete line again from its beginning, since a
		// resumed run may replace it. If the line is already too long, the next call
		// only searches for its end, unless the file has been truncated.
		if info, err := t.file.Stat(); err == nil && info.Size() < t.offset+t.skipped {
			t.skipped = 0
		}
		if _, err := t.file.Seek(t.offset+t.skipped, io.SeekStart); err != nil {
			return nil, fmt.Errorf("runs: %w", err)
		}
		t.in.Reset(t.file)
		return nil, io.EOF
	}
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, fmt.Errorf("runs: %w", err)
	}
	t.offset += int64(len(text)) + t.skipped
	t.skipped = 0
	return text, err
}

// readLine returns a line with its newline. If the line is too long, it returns errTooLong
// and sets t.skipped to the line's length.
func (t *tail) readLine() ([]byte, error) {
	part, err := t.in.ReadSlice('\n')
	if t.skipped == 0 && !errors.Is(err, bufio.ErrBufferFull) {
		return part, err // the usual case
	}
	var text []byte
	for ; ; part, err = t.in.ReadSlice('\n') {
		if t.skipped == 0 && len(text)+len(part) <= maxLine {
			text = append(text, part...)
		} else {
			t.skipped += int64(len(text) + len(part))
			text = nil
		}
		if err == nil && t.skipped > 0 {
			return nil, errTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// stepStage returns the stage of a line that is a step event as Emit writes it, nil for any
// other line.
func stepStage(text []byte) []byte {
	const longestTime = 64 // before the kind
	_, rest, ok := bytes.Cut(text[:min(len(text), longestTime+maxName)], stepPrefix)
	if !ok {
		return nil
	}
	stage, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok || len(stage) == 0 {
		return nil
	}
	return stage
}

var stepPrefix = []byte(`,"kind":"step","stage":"`)
