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

// A run has one writer. Three mechanisms ensure that, since none suffices alone:
//
//   - The folder's lock, taken with flock(2), which the system releases when the
//     process ends. Some file systems have no locks (Lustre without -o flock, some
//     NFS), and some do not share them between machines.
//   - A process that opens a run also reads the status of the previous writer. If
//     that writer is not known to be gone, the process waits for its heartbeat: see
//     vacant.
//   - With each heartbeat a writer checks that it was the last to write the status:
//     see Run.findLoss.

// locker is an advisory lock on a file.
type locker interface {
	TryLock() (bool, error)
	TryRLock() (bool, error)
	Close() error
}

// locking returns a locker for the file at path. make says whether the file is
// created if it does not exist. Tests use other implementations than flocks.
type locking func(path string, make bool) locker

var flocks locking = func(path string, make bool) locker {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if make {
		flags |= os.O_CREATE
	}
	return flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(flags))
}

// Lockless reports whether err, from flock(2), means that the file system has no
// locks.
func Lockless(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}

// lockState is what a reader can see of a lock.
type lockState int

const (
	lockUnknown lockState = iota // the file cannot be read, or the file system has no locks
	lockFree                     // or shared
	lockHeld                     // exclusively
)

// look finds out whether a process holds a lock exclusively. For a moment it holds
// a shared lock. A writer that tries to lock just then fails and tries again: see
// lockWithin.
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

// lockWithin is how long a writer keeps trying to lock, since a reader may hold a
// shared lock for a moment.
const lockWithin = 100 * time.Millisecond

// take locks the folder exclusively, or shared with the processes of other stages.
// If the file system has no locks, it notes that in the status.
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

// denied adds the folder's owner to an error that says that permission was denied.
func (r *Run) denied(err error) error {
	if !errors.Is(err, fs.ErrPermission) || r.folder == nil || r.folder.uid == os.Geteuid() {
		return err
	}
	return fmt.Errorf("it belongs to user %d, and only that user can write to it; you are user %d: %w", r.folder.uid, os.Geteuid(), err)
}

// holder describes the processes that write the run in dir, as far as they are
// known. It leaves out those that are known to be gone.
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

// vacant returns nil once it is sure that the writers of the given status files are
// gone. If it cannot see a writer's process, it calls watch, which may be nil, and
// waits for stalledAfter for a new heartbeat. Only a change of the heartbeat counts,
// and not its time, since clocks of other machines may be wrong.
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
				continue // a missing or damaged status names no writer
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

// settle is how long a process that has opened a run without a lock waits, in case
// another one does the same at the same time.
const settle = time.Second

// settled fails if another process has opened the run at the same time, which is
// possible without locks. The last one to write the status keeps the run.
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
