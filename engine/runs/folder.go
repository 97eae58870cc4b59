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

// ErrFolderLost is wrapped when a run's folder has been moved, deleted or replaced,
// or another process has begun to write to it.
var ErrFolderLost = errors.New("the run has lost its folder")

// FolderID tells a folder or a file from its copies. It is valid until the machine
// is restarted. Other machines see the same Inode but another Device.
type FolderID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

func identify(st *unix.Stat_t) FolderID { return FolderID{uint64(st.Dev), uint64(st.Ino)} }

// folderID returns the identity of the folder at path, zero if it is not known.
func folderID(path string) FolderID {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return FolderID{}
	}
	return identify(&st)
}

// folder is a run's folder. It is held open, so that the system does not give its
// inode number to another folder.
type folder struct {
	at       atomic.Pointer[string] // its path, which changes only while a run is created
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
	f.at.Store(&dir)
	return f, nil
}

func (f *folder) path() string { return *f.at.Load() }

func (f *folder) handleNumber() int { return int(f.handle.Fd()) }

func (f *folder) close() error { return f.handle.Close() }

// now returns the folder's present absolute path, "" if it is not known.
func (f *folder) now() string {
	path := openedPath(f.handle)
	if path == "" || folderID(path) != f.id {
		return ""
	}
	return path
}

// deleted reports whether the folder has been deleted.
func (f *folder) deleted() bool {
	var st unix.Stat_t
	return unix.Fstat(f.handleNumber(), &st) == nil && st.Nlink == 0 || strings.HasSuffix(openedPath(f.handle), " (deleted)")
}

// file returns the identity and the size in bytes of a file in the folder, even if
// the folder has been moved.
func (f *folder) file(name string) (id FolderID, size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(f.handleNumber(), name, &st, 0); err != nil {
		return FolderID{}, 0, err
	}
	return identify(&st), st.Size, nil
}

// loss is why a writer must stop.
type loss struct {
	cause error
	// ours says that no other process writes to the folder, wherever it is now, so
	// that this one can still save its state there.
	ours bool
	at   string // the folder's present path, "" if it is deleted or its path is not known
}

// holding identifies what a writer has open: its folder, and the lock and the
// journal in it.
type holding struct {
	folder  *folder
	lock    FolderID
	journal FolderID
}

// hold records the identity of the files by which examine recognises the folder.
func (r *Run) hold() (err error) {
	r.held.folder = r.folder
	if r.held.lock, _, err = r.folder.file(lockFile); err == nil {
		r.held.journal, _, err = r.folder.file(r.inFolder(r.eventsPath()))
	}
	return err
}

func (r *Run) inFolder(path string) string {
	name, err := filepath.Rel(r.dir, path)
	if err != nil {
		return path
	}
	return name
}

// glitch is how long a folder may seem to be lost: a network file system can show
// an old state for a moment.
const glitch = 50 * time.Millisecond

// examine closes r.lost if the folder is no longer this run's. It looks at three
// files only, which costs next to nothing.
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
	if r.held.folder == nil {
		return nil
	}
	f := r.held.folder
	var st unix.Stat_t
	err := unix.Stat(r.dir, &st)
	gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	if err != nil && !gone {
		return nil // the disk or the network does not answer, which does not mean that the folder is lost
	}
	inPlace := err == nil && identify(&st) == f.id
	lock, _, lockErr := f.file(lockFile)
	if lockErr != nil && !errors.Is(lockErr, unix.ENOENT) && !errors.Is(lockErr, unix.ENOTDIR) {
		return nil
	}
	if !inPlace {
		return r.displacement(gone, lockErr == nil && lock == r.held.lock)
	}
	abs, err := filepath.Abs(r.dir)
	if err != nil {
		abs = r.dir
	}
	switch {
	case lockErr != nil:
		return &loss{at: abs, cause: fmt.Errorf("%s was deleted while the run was being executed; without it another process could take over the run", filepath.Join(r.dir, lockFile))}
	case lock != r.held.lock:
		return &loss{at: abs, cause: fmt.Errorf("%s was replaced while the run was being executed; another process could take over the run", filepath.Join(r.dir, lockFile))}
	}
	if other := r.otherWriter(); other != nil {
		return &loss{at: abs, cause: fmt.Errorf("process %d on %s has been writing the same run since %s: it took this process for dead, or %s was replaced",
			other.PID, other.Host, other.Started.Format(time.RFC3339), r.statusPath())}
	}
	r.events.mu.Lock()
	written := r.events.size
	r.events.mu.Unlock()
	journal, size, err := f.file(r.inFolder(r.eventsPath()))
	if errors.Is(err, unix.ENOENT) || err == nil && (journal != r.held.journal || size < written) {
		return &loss{ours: true, at: abs, cause: fmt.Errorf("%s was deleted, replaced or cut short while the run was being executed, and events are lost", r.eventsPath())}
	}
	return nil
}

// displacement returns the loss of a folder that is no longer at its path. gone
// says that nothing is there now, and locked that the folder's lock is still ours.
func (r *Run) displacement(gone, locked bool) *loss {
	when := "while the run was being executed"
	if !gone {
		when += ", and something else has taken its place"
	}
	switch now := r.folder.now(); {
	case r.folder.deleted():
		return &loss{cause: fmt.Errorf("%s was deleted, with all its checkpoints, %s", r.dir, when)}
	case now == "":
		return &loss{ours: locked, cause: fmt.Errorf("%s was moved %s; its new path is not known", r.dir, when)}
	default:
		return &loss{ours: locked, at: now, cause: fmt.Errorf("%s was moved to %s %s", r.dir, now, when)}
	}
}

// otherWriter returns the status if another process wrote it last, nil otherwise.
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

// Lost is closed when this process must stop writing the run: its folder has been
// moved, deleted or replaced, or a later attempt has taken over its stage. This is
// checked with every heartbeat and every save. The caller must then stop. What it
// saves while stopping goes into the folder, wherever that is now, as long as no
// other process writes there.
func (r *Run) Lost() <-chan struct{} { return r.lost }

// LostCause says why Lost is closed, what was saved last, and where that is now. It
// wraps ErrFolderLost or ErrSuperseded, and is nil while Lost is open.
func (r *Run) LostCause() error {
	l := r.loss.Load()
	if l == nil {
		return nil
	}
	if errors.Is(l.cause, ErrSuperseded) {
		return l.cause
	}
	saved := "; nothing had been saved"
	if e := r.saved.Load(); e != nil {
		saved = fmt.Sprintf("; saved last: stage %s, epoch %d, step %d", e.Stage, e.Epoch, e.Step)
		if l.at != "" {
			saved += fmt.Sprintf(", in %s", filepath.Join(l.at, filepath.FromSlash(e.File)))
		}
	}
	if l.at != "" {
		saved += fmt.Sprintf("; go on with: hatchery resume %s", printable.Word(l.at))
	}
	return fmt.Errorf("%w: %w%s", ErrFolderLost, l.cause, saved)
}

// writable returns an error if this process must no longer write the run.
func (r *Run) writable() error {
	r.examine()
	if l := r.loss.Load(); l != nil && !l.ours {
		return r.LostCause()
	}
	return nil
}

// displaced reports whether the run has lost its folder. Then nothing must be read
// by path, since something else may be there.
func (r *Run) displaced() bool {
	l := r.loss.Load()
	return l != nil && !errors.Is(l.cause, ErrSuperseded)
}
