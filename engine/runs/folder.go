package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hatchery/engine/printable"
)

// ErrFolderLost is wrapped when a run's folder has been moved, deleted or replaced, or
// another process has started to write to it.
var ErrFolderLost = errors.New("the run has lost its folder")

// FolderID identifies a folder or a file and distinguishes it from copies. It is valid
// until the machine is rebooted. Other machines see the same Inode but another Device.
type FolderID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

func identify(st *unix.Stat_t) FolderID { return FolderID{uint64(st.Dev), uint64(st.Ino)} }

// folderID returns the identity of the folder at path, zero if it is unknown.
func folderID(path string) FolderID {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return FolderID{}
	}
	return identify(&st)
}

// folder is a run's folder. It is kept open so that its inode number is not reused for
// another folder.
type folder struct {
	dir      atomic.Pointer[string] // its path, which changes only while the run is created
	handle   *os.File
	id       FolderID
	uid, gid int // its owner
}

func openFolder(dir string) (*folder, error) {
	handle, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(handle.Fd()), &st); err != nil {
		handle.Close()
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	f := &folder{handle: handle, id: identify(&st), uid: int(st.Uid), gid: int(st.Gid)}
	f.dir.Store(&dir)
	return f, nil
}

func (f *folder) path() string { return *f.dir.Load() }

func (f *folder) fd() int { return int(f.handle.Fd()) }

func (f *folder) close() error { return f.handle.Close() }

// currentPath returns the folder's current absolute path, "" if it is unknown.
func (f *folder) currentPath() string {
	path := pathOf(f.handle)
	if path == "" || folderID(path) != f.id {
		return ""
	}
	return path
}

// deleted reports whether the folder has been deleted.
func (f *folder) deleted() bool {
	var st unix.Stat_t
	return unix.Fstat(f.fd(), &st) == nil && st.Nlink == 0 || strings.HasSuffix(pathOf(f.handle), " (deleted)")
}

// stat returns the identity and the size in bytes of a file in the folder. It works even
// if the folder has been moved.
func (f *folder) stat(name string) (id FolderID, size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(f.fd(), name, &st, 0); err != nil {
		return FolderID{}, 0, err
	}
	return identify(&st), st.Size, nil
}

// loss describes why a writer must stop.
type loss struct {
	cause error
	// exclusive means that no other process writes to the folder, wherever it is now.
	// This process can still save its state there.
	exclusive bool
	path      string // the folder's current path, "" if it is deleted or its path is unknown
}

// fileIDs identifies a writer's folder, and the lock and the journal in it.
type fileIDs struct {
	folder  *folder
	lock    FolderID
	journal FolderID
}

// recordIDs records the identities that findLoss compares.
func (r *Run) recordIDs() (err error) {
	r.ids.folder = r.folder
	if r.ids.lock, _, err = r.folder.stat(lockFile); err == nil {
		r.ids.journal, _, err = r.folder.stat(r.relPath(r.eventsPath()))
	}
	return err
}

func (r *Run) relPath(path string) string {
	name, err := filepath.Rel(r.dir, path)
	if err != nil {
		return path
	}
	return name
}

// glitch is how long a folder may seem to be lost although it is not: a network file system
// can briefly show an old state.
const glitch = 50 * time.Millisecond

// examine closes r.lost if the folder no longer belongs to this run. It only stats and
// reads a few small files, so it is cheap.
func (r *Run) examine() {
	if r.loss.Load() != nil {
		return
	}
	l := r.findLoss()
	if l == nil {
		return
	}
	time.Sleep(glitch)
	if l = r.findLoss(); l != nil {
		r.lose(l)
	}
}

// lose records that the run has lost its folder. Only the first reason is kept.
func (r *Run) lose(l *loss) {
	if r.loss.CompareAndSwap(nil, l) {
		close(r.lost)
	}
}

func (r *Run) findLoss() *loss {
	if r.ids.folder == nil {
		return nil
	}
	f := r.ids.folder
	var st unix.Stat_t
	err := unix.Stat(r.dir, &st)
	missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	if err != nil && !missing {
		return nil // the disk or the network may be down; that does not mean that the folder is lost
	}
	inPlace := err == nil && identify(&st) == f.id
	lock, _, lockErr := f.stat(lockFile)
	if lockErr != nil && !errors.Is(lockErr, unix.ENOENT) && !errors.Is(lockErr, unix.ENOTDIR) {
		return nil
	}
	if !inPlace {
		return r.displacement(missing, lockErr == nil && lock == r.ids.lock)
	}
	abs, err := filepath.Abs(r.dir)
	if err != nil {
		abs = r.dir
	}
	switch {
	case lockErr != nil:
		return &loss{path: abs, cause: fmt.Errorf("%s was deleted during the run; without it another process could take over the run", filepath.Join(r.dir, lockFile))}
	case lock != r.ids.lock:
		return &loss{path: abs, cause: fmt.Errorf("%s was replaced during the run; another process could take over the run", filepath.Join(r.dir, lockFile))}
	}
	if other := r.otherWriter(); other != nil {
		return &loss{path: abs, cause: fmt.Errorf("process %d on %s has been writing the same run since %s: either it considered this process dead, or %s was replaced",
			other.PID, other.Host, other.Started.Format(time.RFC3339), r.statusPath())}
	}
	r.events.mu.Lock()
	written := r.events.size
	r.events.mu.Unlock()
	journal, size, err := f.stat(r.relPath(r.eventsPath()))
	if errors.Is(err, unix.ENOENT) || err == nil && (journal != r.ids.journal || size < written) {
		return &loss{exclusive: true, path: abs, cause: fmt.Errorf("%s was deleted, replaced or truncated during the run, and events are lost", r.eventsPath())}
	}
	return nil
}

// displacement returns the loss of a folder that is no longer at its path. missing reports
// whether nothing is at the path now, and locked whether this process still holds the
// folder's lock.
func (r *Run) displacement(missing, locked bool) *loss {
	when := "during the run"
	if !missing {
		when += ", and its path is taken by something else"
	}
	switch now := r.folder.currentPath(); {
	case r.folder.deleted():
		return &loss{cause: fmt.Errorf("%s was deleted, with all its checkpoints, %s", r.dir, when)}
	case now == "":
		return &loss{exclusive: locked, cause: fmt.Errorf("%s was moved %s; its new path is unknown", r.dir, when)}
	default:
		return &loss{exclusive: locked, path: now, cause: fmt.Errorf("%s was moved to %s %s", r.dir, now, when)}
	}
}

// otherWriter returns the status if another process was the last to write it, otherwise
// nil.
func (r *Run) otherWriter() *Status {
	s, err := readStatus(r.statusPath())
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.PID == r.status.PID && s.Host == r.status.Host && s.Process == r.status.Process && s.Started.Equal(r.status.Started) {
		return nil
	}
	return &s
}

// Lost returns a channel that is closed when this process must stop writing the run,
// because its folder has been moved, deleted or replaced, or because a later attempt has
// taken over its stage. This is checked with every heartbeat and every save. The caller
// must then stop. Checkpoints that it saves while stopping go to the folder, wherever that
// is now, unless another process writes there.
func (r *Run) Lost() <-chan struct{} { return r.lost }

// LostCause returns an error that says why Lost was closed, what was saved last, and where
// that is now. It wraps ErrFolderLost or ErrSuperseded. It is nil if Lost is not closed.
func (r *Run) LostCause() error {
	l := r.loss.Load()
	if l == nil {
		return nil
	}
	if errors.Is(l.cause, ErrSuperseded) {
		return l.cause
	}
	saved := "; no checkpoint was saved"
	if e := r.lastSaved.Load(); e != nil {
		saved = fmt.Sprintf("; the last checkpoint is of stage %s, epoch %d, step %d", e.Stage, e.Epoch, e.Step)
		if l.path != "" {
			saved += fmt.Sprintf(", in %s", filepath.Join(l.path, filepath.FromSlash(e.File)))
		}
	}
	if l.path != "" {
		saved += fmt.Sprintf("; resume with: hatchery resume %s", printable.Word(l.path))
	}
	return fmt.Errorf("%w: %w%s", ErrFolderLost, l.cause, saved)
}

// writable returns an error if this process must not write the run any more.
func (r *Run) writable() error {
	r.examine()
	if l := r.loss.Load(); l != nil && !l.exclusive {
		return r.LostCause()
	}
	return nil
}

// displaced reports whether the run has lost its folder. Nothing may then be read by path,
// because the path may lead to another folder.
func (r *Run) displaced() bool {
	l := r.loss.Load()
	return l != nil && !errors.Is(l.cause, ErrSuperseded)
}
