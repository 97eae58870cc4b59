// Package atomicfile writes files that are there whole or not at all: a file is
// written beside its target, and then takes its place. What a process that was
// killed in between has left is removed by the next one that writes the target.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// File is a file that is being written. CloseAtomicallyReplace puts it in its
// place, and Cleanup, which does nothing after that, removes it.
type File = renameio.PendingFile

// Write writes a whole file, durably. perm is before the umask, and of a new
// file; one that is replaced keeps its mode. What root writes into the folder
// of another user belongs to that user.
func Write(path string, data []byte, perm os.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// Create begins to write a file in the way of Write.
func Create(path string, perm os.FileMode) (*File, error) {
	collect(path, time.Now())
	dir := filepath.Dir(path)
	// The default is the system's folder for temporary files, where that is on
	// the same file system: there nobody would look for what is left.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(perm), renameio.WithExistingPermissions())
	if err != nil {
		return nil, err
	}
	// As long as it is locked, or young, nobody takes it for left behind. Where
	// there are no locks, its age has to do.
	unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if os.Geteuid() == 0 {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && st.Uid != 0 && st.Mode&unix.S_ISVTX == 0 {
			f.Chown(int(st.Uid), int(st.Gid))
		}
	}
	return f, nil
}

const (
	// young is the age up to which a file may be between being made and being
	// locked, or between being closed and taking its place.
	young = time.Minute
	// ancient is the age from which nobody writes a file any more that cannot be
	// locked.
	ancient = 24 * time.Hour
)

// collect removes what processes that are gone have left of the file at path.
func collect(path string, now time.Time) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "."+base)
		if !ok || number == "" || strings.Trim(number, "0123456789") != "" || !e.Type().IsRegular() {
			continue
		}
		left := filepath.Join(dir, e.Name())
		if info, err := e.Info(); err == nil && abandoned(left, now.Sub(info.ModTime())) {
			os.Remove(left)
		}
	}
}

// abandoned says whether no process writes a file of the given age.
func abandoned(path string, age time.Duration) bool {
	if age < young {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return err == nil || !errors.Is(err, unix.EWOULDBLOCK) && age > ancient
}
