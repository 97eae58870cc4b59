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

// disk is the interface through which a writer changes the file system. With it, tests can
// stop a writer between any two operations.
type disk interface {
	create(path string) (diskFile, error) // replaces an existing file
	rename(from, to string) error
	link(from, to string) error // copies if the file system has no links
	remove(path string) error   // returns nil if there is no such file
	makeDirs(path string) error // creates parent folders too
	syncDir(path string) error  // makes created, renamed and removed names survive a power failure
	overwrite(path string, data []byte) error
}

type diskFile interface {
	io.WriteCloser
	Chmod(mode fs.FileMode) error
	Sync() error
}

// Modes of a run's files and folders, before the user's umask.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// osDisk is the real file system. It accesses paths inside the run's folder through the
// open folder, so that it still uses that folder after it has been moved, and never another
// one at the same path. Other paths, and all paths if folder is nil, are used unchanged.
type osDisk struct{ folder *folder }

// resolve returns the folder and the name that openat and similar system calls take for a
// path.
func (d osDisk) resolve(path string) (handle int, name string) {
	if d.folder == nil {
		return unix.AT_FDCWD, path
	}
	name, err := filepath.Rel(d.folder.path(), path)
	if err != nil || !filepath.IsLocal(name) {
		return unix.AT_FDCWD, path
	}
	return d.folder.fd(), name
}

func (d osDisk) open(path string, flags int, mode uint32) (*os.File, error) {
	at, name := d.resolve(path)
	fd := -1
	err := retryEINTR(func() (err error) {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// make creates a file. It fails if the file exists.
func (d osDisk) make(path string, flags int) (*os.File, error) {
	f, err := d.open(path, flags|unix.O_CREAT|unix.O_EXCL, fileMode)
	if err == nil {
		d.chown(path)
	}
	return f, err
}

// create first removes an existing file, so that it never writes through a link or into a
// pipe.
func (d osDisk) create(path string) (diskFile, error) {
	if err := d.remove(path); err != nil {
		return nil, err
	}
	return d.make(path, unix.O_WRONLY)
}

// openAppend opens a regular file for appending, and creates it if it does not exist.
func (d osDisk) openAppend(path string) (*os.File, error) {
	f, err := d.make(path, unix.O_WRONLY|unix.O_APPEND)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	f, err = d.open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK, 0)
	return checkRegular(path, f, err)
}

// overwrite replaces a file's content in place. It is for a full disk, which has no room
// for a second file. A reader may see a mixture of the old and the new content.
func (d osDisk) overwrite(path string, data []byte) error {
	f, err := d.open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if f, err = checkRegular(path, f, err); err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func (d osDisk) rename(from, to string) error {
	fromAt, fromName := d.resolve(from)
	toAt, toName := d.resolve(to)
	if err := retryEINTR(func() error { return unix.Renameat(fromAt, fromName, toAt, toName) }); err != nil {
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

// linkOnce links a file. If the path to exists, the error wraps fs.ErrExist.
func (d osDisk) linkOnce(from, to string) error {
	fromAt, fromName := d.resolve(from)
	toAt, toName := d.resolve(to)
	if err := unix.Linkat(fromAt, fromName, toAt, toName, 0); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
	}
	return nil
}

// exists reports whether a file or folder exists.
func (d osDisk) exists(path string) bool {
	var st unix.Stat_t
	at, name := d.resolve(path)
	return unix.Fstatat(at, name, &st, 0) == nil
}

func (d osDisk) remove(path string) error {
	at, name := d.resolve(path)
	err := retryEINTR(func() error { return unix.Unlinkat(at, name, 0) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

func (d osDisk) makeDirs(path string) error {
	at, name := d.resolve(path)
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
	case errors.Is(err, fs.ErrExist): // if this is not a folder, using it will fail
		return nil
	case err != nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	d.chown(path)
	return nil
}

func (d osDisk) syncDir(path string) error {
	f, err := d.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// chown gives a file that root has just created to the owner of the run's folder. Otherwise
// that user could not read the file or resume the run. It ignores errors.
func (d osDisk) chown(path string) {
	if d.folder == nil || os.Geteuid() != 0 {
		return
	}
	at, name := d.resolve(path)
	_ = unix.Fchownat(at, name, d.folder.uid, d.folder.gid, unix.AT_SYMLINK_NOFOLLOW)
}

// retryEINTR repeats a system call while signals interrupt it.
func retryEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeSynced writes a new file and syncs it. The file survives a power failure once its
// folder is synced too.
func writeSynced(d disk, path string, data []byte) error { return writeLike(d, path, path, data) }

// writeLike is writeSynced for a file that will replace the file like. The new file gets
// the mode of like.
func writeLike(d disk, path, like string, data []byte) error {
	old, statErr := os.Lstat(like)
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if statErr == nil && old.Mode().IsRegular() {
		err = f.Chmod(old.Mode().Perm())
	}
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// replace replaces a file atomically and durably. It writes the file temp first, which must
// be in the same folder.
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

// isFull reports whether err means that the disk, or this user's quota, is full.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// syncDir is osDisk.syncDir for a folder that no Run holds open.
func syncDir(path string) error {
	if err := (osDisk{}).syncDir(path); err != nil {
		return fmt.Errorf("cannot sync the folder to disk: %w", err)
	}
	return nil
}
