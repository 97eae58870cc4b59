package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OpenFile opens a file of a run folder for reading. It fails if the file is not regular,
// because opening a pipe, for example, could block forever.
func OpenFile(path string) (*os.File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return f, nil
}

// ReadFile reads a file of a run folder. The file must be regular and not larger than
// 16 MiB.
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
	// The check comes first because opening a device can have side effects.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path, info.Mode())
	}
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, 0)
	return checkRegular(path, f, err)
}

// checkRegular takes the results of opening a file and returns them, unless the file is not
// regular: then it closes the file and returns an error.
func checkRegular(path string, f *os.File, err error) (*os.File, error) {
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) { // a pipe without a reader, a socket or a folder
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
	kind := "a device"
	switch {
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("%s is %s, not a file", path, kind)
}

// maxSmallFile is the largest size in bytes of a file that is read as a whole. Such files of
// a run are far smaller.
const maxSmallFile = 16 << 20

// readSmall reads a small file, such as status.json.
func readSmall(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("%s is larger than %d MiB, which no file of this kind is", path, maxSmallFile>>20)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
