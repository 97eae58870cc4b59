package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OpenFile opens a file of a run folder for reading. It fails if that is not a
// regular file: opening a pipe, for example, could block for ever.
func OpenFile(path string) (*os.File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return f, nil
}

// ReadFile reads a file of a run folder of at most 16 MiB, which must be regular as
// for OpenFile.
func ReadFile(path string) ([]byte, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return data, nil
}

func openRegular(path string) (*os.File, error) { return openRegularFor(path, os.O_RDONLY) }

// openRegularFor opens an existing regular file with the given flags.
func openRegularFor(path string, flags int) (*os.File, error) {
	// The check comes first because opening a device can have effects.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path, info.Mode())
	}
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, 0)
	return regularOrClosed(path, f, err)
}

// regularOrClosed returns the file and the error of an attempt to open a file, but
// closes the file and returns an error if it is not regular.
func regularOrClosed(path string, f *os.File, err error) (*os.File, error) {
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) { // a pipe that nobody reads, a socket, a folder
		if info, statErr := os.Stat(path); statErr == nil && !info.Mode().IsRegular() {
			return nil, irregular(path, info.Mode())
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = irregular(path, info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func irregular(path string, mode fs.FileMode) error {
	what := "a device"
	switch {
	case mode.IsDir():
		what = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		what = "a named pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	}
	return fmt.Errorf("%s is %s, not a file", path, what)
}

// smallFile is the largest size in bytes of a file that is read as a whole. It is
// far more than any such file of a run has.
const smallFile = 16 << 20

// readSmall reads a whole file, such as status.json.
func readSmall(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, smallFile+1))
	if err == nil && len(data) > smallFile {
		err = fmt.Errorf("%s is larger than %d MiB, more than any file of this kind", path, smallFile>>20)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
