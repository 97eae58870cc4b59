// Package atomicfile writes files atomically: a temporary file is written in the same folder
// and then renamed, so that readers see the old or the new content, and never a part of it.
// If a process is killed, the next process that writes the same file removes the temporary
// file.
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

// File is a file that is being written. CloseAtomicallyReplace renames it to its final path.
// Cleanup removes it; after CloseAtomicallyReplace it does nothing.
type File = renameio.PendingFile

// Write writes a whole file and syncs it. perm is the mode of a new file, before the umask;
// an existing file keeps its mode. A file that root writes into another user's folder
// belongs to that user.
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

// Create starts writing a file. The arguments are those of Write.
func Create(path string, perm os.FileMode) (*File, error) {
	collect(path, time.Now())
	dir := filepath.Dir(path)
	// The default may be the system's temporary folder, in which collect would not find
	// files of killed processes.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(perm), renameio.WithExistingPermissions())
	if err != nil {
		return nil, err
	}
	// The lock tells collect that the file is being written. If there are no locks,
	// collect judges by the file's age.
	_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if os.Geteuid() == 0 {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && st.Uid != 0 && st.Mode&unix.S_ISVTX == 0 {
			_ = f.Chown(int(st.Uid), int(st.Gid)) // if this fails, the file belongs to root
		}
	}
	return f, nil
}

const (
	// minAge is the age up to which an unlocked file is kept: its process may be about
	// to lock it, or may have closed it and be about to rename it.
	minAge = time.Minute
	// unlockedAge is the age from which a file is removed if there are no locks.
	unlockedAge = 24 * time.Hour
)

// collect removes temporary files for path that killed processes have left.
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

// abandoned reports whether no process writes a temporary file of the given age.
func abandoned(path string, age time.Duration) bool {
	if age < minAge {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return err == nil || !errors.Is(err, unix.EWOULDBLOCK) && age > unlockedAge
}
