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

// disk holds the operations of a writer on the file system, so that tests can stop
// it between any two of them.
type disk interface {
	create(path string) (diskFile, error) // a new file, which replaces an existing one
	rename(from, to string) error
	link(from, to string) error // copies if the file system has no links
	remove(path string) error   // no error if there is no such file
	makeDirs(path string) error // and the folders above it
	syncDir(path string) error  // makes changes of names in the folder survive a power cut
	overwrite(path string, data []byte) error
}

type diskFile interface {
	io.WriteCloser
	Chmod(mode fs.FileMode) error
	Sync() error
}

// Modes of a run's files and folders, before the user's umask: only the owner may
// write, and others may read what the umask lets them.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// osDisk is the real file system. It reaches paths in the folder through the
// folder's handle, so that it works in the run's own folder even if that has been
// moved, and never in another one that has taken its place. Other paths, and all
// paths if there is no folder, are used as they are.
type osDisk struct{ folder *folder }

// at returns a path as openat and similar system calls take it.
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

// make creates a file, which must not exist yet.
func (d osDisk) make(path string, flags int) (*os.File, error) {
	f, err := d.open(path, flags|unix.O_CREAT|unix.O_EXCL, fileMode)
	if err == nil {
		d.give(path)
	}
	return f, err
}

// create removes what is at path first, so that it never writes through a link or
// into a pipe.
func (d osDisk) create(path string) (diskFile, error) {
	if err := d.remove(path); err != nil {
		return nil, err
	}
	return d.make(path, unix.O_WRONLY)
}

// openAppend opens a regular file for appending, and creates it if need be.
func (d osDisk) openAppend(path string) (*os.File, error) {
	f, err := d.make(path, unix.O_WRONLY|unix.O_APPEND)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	f, err = d.open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK, 0)
	return regularOrClosed(path, f, err)
}

// overwrite replaces a file's content in place, for when the disk has no room for a
// second file. A reader may see some of the old content and some of the new.
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

// linkOnce fails with an error that wraps fs.ErrExist if there is something at to.
func (d osDisk) linkOnce(from, to string) error {
	fromAt, fromName := d.at(from)
	toAt, toName := d.at(to)
	if err := unix.Linkat(fromAt, fromName, toAt, toName, 0); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
	}
	return nil
}

// has reports whether there is something at a path.
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
	case errors.Is(err, fs.ErrExist): // if it is not a folder, using it will fail
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

// give makes the folder's owner the owner of what root has just created in it.
// Otherwise that user could not read it or resume the run. It ignores errors.
func (d osDisk) give(path string) {
	if d.folder == nil || os.Geteuid() != 0 {
		return
	}
	at, name := d.at(path)
	unix.Fchownat(at, name, d.folder.uid, d.folder.gid, unix.AT_SYMLINK_NOFOLLOW)
}

// retried repeats a system call as long as signals interrupt it.
func retried(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// writeSynced writes a new file and syncs it. It survives a power cut once its
// folder is synced too.
func writeSynced(d disk, path string, data []byte) error { return writeLike(d, path, path, data) }

// writeLike is writeSynced for a file that will replace the file like, whose mode it
// keeps.
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

// replace replaces a file, whole and durably or not at all, by way of the file temp
// beside it.
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

// full reports whether err means that the disk, or this user's quota, is full.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// syncDir is osDisk.syncDir for a folder that no Run holds open.
func syncDir(path string) error {
	if err := (osDisk{}).syncDir(path); err != nil {
		return fmt.Errorf("the folder cannot be synced to disk: %w", err)
	}
	return nil
}
