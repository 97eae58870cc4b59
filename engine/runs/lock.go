package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// A run has one writer. Three things see to that, since none is enough alone:
//
// The lock of the folder, with flock(2), which the system takes away with its
// process. Some file systems have no locks (Lustre without -o flock, some NFS),
// and some keep those of a machine to themselves.
//
// So whoever takes a run looks at the status of the one before as well, and if
// that is not known to be gone, watches for its heartbeat: see vacant.
//
// And whoever has a run looks with each heartbeat whether the last word in its
// status is its own: see Run.findLoss.

// locker is an advisory lock on a file.
type locker interface {
	TryLock() (bool, error)
	TryRLock() (bool, error)
	Close() error
}

// locking makes lockers, of a file that must be there or of one that is made;
// tests have others than flocks.
type locking func(path string, make bool) locker

var flocks locking = func(path string, make bool) locker {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if make {
		flags |= os.O_CREATE
	}
	return flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(flags))
}

// Lockless says whether an error of flock(2) is that the file system has no locks.
func Lockless(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}

// lockState is what a reader finds out of a lock.
type lockState int

const (
	lockUnknown lockState = iota // its file belongs to another user, say, or there are no locks
	lockFree
	lockHeld // by a process that has it for itself alone
)

// lookAtLock finds out whether a process holds a lock for itself alone. It
// shares the lock for a moment, which nobody notices but who takes it just
// then, and tries again.
func (l locking) look(path string) lockState {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lockFree
	}
	if err != nil || !info.Mode().IsRegular() {
		return lockUnknown
	}
	lock := l(path, false)
	free, err := lock.TryRLock()
	if err != nil {
		return lockUnknown
	}
	if !free {
		return lockHeld
	}
	lock.Close()
	return lockFree
}

// lockWithin is how long readers may be in the way of a writer.
const lockWithin = 100 * time.Millisecond

// take locks the folder for this process alone, or shared with those of other
// stages. Where the file system has no locks, it notes that in the status.
func (r *Run) take(ctx context.Context, shared bool) error {
	path := filepath.Join(r.dir, lockFile)
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return irregular(path, info.Mode())
	}
	fresh := errors.Is(err, fs.ErrNotExist)
	try := r.lock.TryLock
	if shared {
		try = r.lock.TryRLock
	}
	for end := time.Now().Add(lockWithin); ; {
		locked, err := try()
		if fresh {
			r.osDisk().give(path)
		}
		switch {
		case locked:
			return nil
		case Lockless(err):
			r.status.Unlocked = true
			return nil
		case err != nil:
			return r.denied(err)
		case time.Now().After(end):
			return fmt.Errorf("%w: %s", ErrLocked, holder(r.dir))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockWithin / 20):
		}
	}
}

// denied adds to an error whose the folder is, if that is why.
func (r *Run) denied(err error) error {
	if !errors.Is(err, fs.ErrPermission) || r.folder == nil || r.folder.uid == os.Geteuid() {
		return err
	}
	return fmt.Errorf("it belongs to user %d, and only that user can write to it; you are user %d: %w", r.folder.uid, os.Geteuid(), err)
}

// holder says what is known of the processes that have the run in dir. It names
// none that is known to be gone.
func holder(dir string) string {
	e := evidenceNow(time.Now())
	e.lock = lockHeld
	e.folder = folderID(dir)
	var known []string
	if s, err := readStatus(filepath.Join(dir, statusFile)); err == nil && s.Phase.alive() && !e.processGone(s) {
		known = append(known, s.writer())
	}
	if all, err := listAttempts(dir); err == nil {
		for _, a := range all.newest() {
			s, err := readStatus(attemptPath(dir, a.stage, a.number, ".json"))
			if err == nil && s.Phase.alive() && !e.processGone(s) {
				known = append(known, fmt.Sprintf("%s, at stage %s", s.writer(), a.stage))
			}
		}
	}
	if known == nil {
		return "it has not written yet which process it is"
	}
	return strings.Join(known, "; ")
}

func (s Status) writer() string {
	return fmt.Sprintf("pid %d on %s since %s", s.PID, s.Host, s.Started.Format(time.RFC3339))
}

// vacant returns nil once no process is known to write what the status files
// at the given paths tell of. It asks for the process where it can, and else
// watches for stalledAfter whether a heartbeat comes, after it has called
// watch, which may be nil. Clocks of other machines may be wrong: that a
// heartbeat comes tells, not when it says that it came.
func (r *Run) vacant(ctx context.Context, paths []string, watch func(earlier Status)) error {
	const look = 50 * time.Millisecond
	e := evidenceNow(time.Now())
	e.folder = r.folder.id
	first := map[string]Status{}
	for end := time.Now().Add(stalledAfter); ; {
		waiting := false
		for _, path := range paths {
			s, err := readStatus(path)
			if err != nil {
				continue // none, or broken, so that it tells of nobody
			}
			before, seen := first[path]
			if !seen {
				first[path] = s
			}
			switch {
			case !s.Phase.alive(), !r.status.Unlocked && e.lockTells(s), e.processGone(s), e.copied(s):
				continue
			case e.processHere(s), seen && !s.Heartbeat.Equal(before.Heartbeat):
				return fmt.Errorf("%w: %s", ErrLocked, s.writer())
			case !seen && !waiting && len(first) == 1 && watch != nil:
				watch(s)
			}
			waiting = true
		}
		if !waiting || time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
}

// settle is how long one who has taken a run without a lock waits to see
// whether another has done so at the same time.
const settle = time.Second

// settled fails if another process has taken the run too, where there is no
// lock to prevent it. The last one to write the status has it.
func (r *Run) settled(ctx context.Context) error {
	if !r.status.Unlocked {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	if other := r.otherWriter(); other != nil {
		return fmt.Errorf("%w: %s", ErrLocked, other.writer())
	}
	return nil
}
