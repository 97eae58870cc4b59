package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is what a writer does to the file system, so that tests can cut it short
// between any two operations.
type disk interface {
	create(path string) (diskFile, error) // a new file, in place of what is there
	rename(from, to string) error
	link(from, to string) error // a copy where the file system has no links
	remove(path string) error   // no error if it is not there
	makeDirs(path string) error // with the folders above it
	syncDir(path string) error  // what was done to names in the folder survives a power cut
	overwrite(path string, data []byte) error
}

type diskFile interface {
	io.WriteCloser
	Chmod(mode fs.FileMode) error
	Sync() error
}

// Modes of what a run consists of, before the user's umask: others may read
// what the umask lets them, and only the owner may write.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// osDisk is the real one. What is done to a path in the folder is done through
// the folder's handle, so that it happens in the run's own folder, wherever
// that has been moved to, and never in another one that took its place. Without
// a folder, and outside of it, paths are what they are.
type osDisk struct{ folder *folder }

// at returns a path as the system's calls that end in "at" want it.
func (d osDisk) at(path string) (handle int, name string) {
	if d.folder == nil {
		return unix.AT_FDCWD, path
	}
	name, err := filepath.Rel(d.folder.path(), path)
	if err != nil || !filepath.IsLocal(name) {
		return unix.AT_FDCWD, path
	}
	return d.folder.handleNumber(), name
}

func (d osDisk) open(path string, flags int, mode uint32) (*os.File, error) {
	at, name := d.at(path)
	fd := -1
	err := retried(func() (err error) {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// make opens a file that must not be there, or is to be a new one.
func (d osDisk) make(path string, flags int) (*os.File, error) {
	f, err := d.open(path, flags|unix.O_CREAT|unix.O_EXCL, fileMode)
	if err == nil {
		d.give(path)
	}
	return f, err
}

// create never writes through what is in the file's place, be it a link or a pipe.
func (d osDisk) create(path string) (diskFile, error) {
	if err := d.remove(path); err != nil {
		return nil, err
	}
	return d.make(path, unix.O_WRONLY)
}

// openAppend opens a regular file for appending, and makes it if it is not there.
func (d osDisk) openAppend(path string) (*os.File, error) {
	f, err := d.make(path, unix.O_WRONLY|unix.O_APPEND)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	f, err = d.open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK, 0)
	return regularOrClosed(path, f, err)
}

// overwrite puts data in the place of a file's content where no second file
// fits on the disk. Who reads meanwhile may see some of both.
func (d osDisk) overwrite(path string, data []byte) error {
	f, err := d.open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if f, err = regularOrClosed(path, f, err); err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func (d osDisk) rename(from, to string) error {
	fromAt, fromName := d.at(from)
	toAt, toName := d.at(to)
	if err := retried(func() error { return unix.Renameat(fromAt, fromName, toAt, toName) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (d osDisk) link(from, to string) error {
	if d.linkOnce(from, to) == nil {
		return nil
	}
	in, err := openRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := d.create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// linkOnce fails if there is something at to, and wraps fs.ErrExist then.
func (d osDisk) linkOnce(from, to string) error {
	fromAt, fromName := d.at(from)
	toAt, toName := d.at(to)
	if err := unix.Linkat(fromAt, fromName, toAt, toName, 0); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
	}
	return nil
}

// has says whether there is something at a path.
func (d osDisk) has(path string) bool {
	var st unix.Stat_t
	at, name := d.at(path)
	return unix.Fstatat(at, name, &st, 0) == nil
}

func (d osDisk) remove(path string) error {
	at, name := d.at(path)
	err := retried(func() error { return unix.Unlinkat(at, name, 0) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

func (d osDisk) makeDirs(path string) error {
	at, name := d.at(path)
	if name == "." {
		return nil
	}
	err := unix.Mkdirat(at, name, dirMode)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(name) != name {
		if err := d.makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		err = unix.Mkdirat(at, name, dirMode)
	}
	switch {
	case errors.Is(err, fs.ErrExist): // and what is no folder says so when it is used
		return nil
	case err != nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	d.give(path)
	return nil
}

func (d osDisk) syncDir(path string) error {
	f, err := d.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// give gives what root has just made in a user's folder to that user, who
// otherwise could not read it, or go on with the run. If that is not possible,
// it stays root's.
func (d osDisk) give(path string) {
	if d.folder == nil || os.Geteuid() != 0 {
		return
	}
	at, name := d.at(path)
	unix.Fchownat(at, name, d.folder.uid, d.folder.gid, unix.AT_SYMLINK_NOFOLLOW)
}

// retried repeats a call that a signal has interrupted.
func retried(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// writeSynced writes a new file that survives a power cut once its folder does.
func writeSynced(d disk, path string, data []byte) error { return writeLike(d, path, path, data) }

// writeLike is writeSynced for a file that takes the place of another, whose
// mode it keeps.
func writeLike(d disk, path, like string, data []byte) error {
	was, statErr := os.Lstat(like)
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if statErr == nil && was.Mode().IsRegular() {
		err = f.Chmod(was.Mode().Perm())
	}
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// replace puts a file in the place of another, by way of the file temp beside
// it: whole and durable, or not at all.
func replace(d disk, path, temp string, data []byte) error {
	err := writeLike(d, temp, path, data)
	if err == nil {
		err = d.rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, d.remove(temp))
	}
	return nil
}

// full says whether an error is that there is no more room on the disk, or for
// this user.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// syncDir is osDisk's, of a folder that no writer has.
func syncDir(path string) error {
	if err := (osDisk{}).syncDir(path); err != nil {
		return fmt.Errorf("the folder cannot be synced to disk: %w", err)
	}
	return nil
}
