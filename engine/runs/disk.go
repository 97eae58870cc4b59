package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// disk is what saving a checkpoint does to the file system, so that tests can
// cut it short between any two operations.
type disk interface {
	create(path string) (diskFile, error) // for writing, replacing what is there
	rename(from, to string) error
	link(from, to string) error // a copy where the file system has no links
	remove(path string) error   // no error if it is not there
	syncDir(path string) error  // what was done to names in the folder survives a power cut
}

type diskFile interface {
	io.WriteCloser
	Sync() error
}

// osDisk is the real one.
type osDisk struct{}

func (osDisk) create(path string) (diskFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func (osDisk) remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (osDisk) syncDir(path string) error { return syncDir(path) }

// writeSynced writes a new file that survives a power cut once its folder does.
func writeSynced(path string, data []byte) error {
	f, err := osDisk{}.create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
