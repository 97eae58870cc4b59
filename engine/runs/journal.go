package runs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
)

// journal appends events to a file, one per line. Only lines that end in a newline count.
// An incomplete last line, left by a killed process or a full disk, is truncated before the
// next line is written.
type journal struct {
	mu   sync.Mutex
	file journalFile
	size int64 // of the complete lines, in bytes
	torn bool  // an incomplete line may follow them
}

// journalFile is the part of *os.File that a journal uses.
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

// wholeLines returns the length in bytes of a file up to and including its last newline. It
// reads backwards, since a journal can be long.
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

// sync makes all events so far survive a power failure.
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

// length returns the length of the complete lines in bytes.
func (j *journal) length() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}
