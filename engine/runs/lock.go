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

// A run has only one writer. Three mechanisms ensure that, since none is sufficient:
//
//   - The folder's lock, taken with flock(2), which the system releases when the
//     process ends. Some file systems have no locks (Lustre without -o flock, some
//     NFS), and some do not share them between machines.
//   - A process that opens a run also reads the status of the previous writer. Unless
//     that writer is known to be gone, the process waits for its heartbeat; see
//     waitVacant.
//   - With each heartbeat a writer checks that it was the last to write the status; see
//     Run.findLoss.

// locker is an advisory lock on a file.
type locker interface {
	TryLock() (bool, error)
	TryRLock() (bool, error)
	Close() error
}

// locking returns a locker for the file at path. If create is true, locking the file creates
// it if it does not exist. Tests use other implementations than flocks.
type locking func(path string, create bool) locker

var flocks locking = func(path string, create bool) locker {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if create {
		flags |= os.O_CREATE
	}
	return flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(flags))
}

// Lockless reports whether err, from flock(2), means that the file system has no
// locks.
func Lockless(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}

// lockState is the state of a lock as a reader sees it.
type lockState int

const (
	lockUnknown lockState = iota // the file cannot be read, or the file system has no locks
	lockFree                     // or shared
	lockHeld                     // exclusively
)

// inspect determines whether a process holds a lock exclusively. It briefly holds a shared
// lock itself. A writer that fails to lock because of that tries again; see lockWithin.
func (l locking) inspect(path string) lockState {
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

// lockWithin is how long a writer keeps trying to lock, since a reader may briefly hold a
// shared lock.
const lockWithin = 100 * time.Millisecond

// lockFolder locks the folder, exclusively or shared with the processes of other stages.
// If the file system has no locks, it records that in the status.
func (r *Run) lockFolder(ctx context.Context, shared bool) error {
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
			r.osDisk().chown(path)
		}
		switch {
		case locked:
			return nil
		case Lockless(err):
			r.status.Unlocked = true
			return nil
		case err != nil:
			return r.explainDenied(err)
		case time.Now().After(end):
			return fmt.Errorf("%w: %s", ErrLocked, describeWriters(r.dir))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockWithin / 20):
		}
	}
}

// explainDenied adds the folder's owner to a permission error.
func (r *Run) explainDenied(err error) error {
	if !errors.Is(err, fs.ErrPermission) || r.folder == nil || r.folder.uid == os.Geteuid() {
		return err
	}
	return fmt.Errorf("it belongs to user %d, and only that user can write to it; you are user %d: %w", r.folder.uid, os.Geteuid(), err)
}

// describeWriters describes the processes that write the run in dir, as far as they are
// known. It omits processes that are known to be gone.
func describeWriters(dir string) string {
	e := gatherEvidence(time.Now())
	e.lock = lockHeld
	e.folder = folderID(dir)
	var known []string
	if s, err := readStatus(filepath.Join(dir, statusFile)); err == nil && s.Phase.alive() && !e.processGone(s) {
		known = append(known, s.describeWriter())
	}
	if all, err := listAttempts(dir); err == nil {
		for _, a := range all.newest() {
			s, err := readStatus(attemptPath(dir, a.stage, a.number, ".json"))
			if err == nil && s.Phase.alive() && !e.processGone(s) {
				known = append(known, fmt.Sprintf("%s, at stage %s", s.describeWriter(), a.stage))
			}
		}
	}
	if known == nil {
		return "that process has not written a status yet"
	}
	return strings.Join(known, "; ")
}

func (s Status) describeWriter() string {
	return fmt.Sprintf("pid %d on %s since %s", s.PID, s.Host, s.Started.Format(time.RFC3339))
}

// waitVacant returns nil once the writers of the given status files are gone, and an error
// that wraps ErrLocked if one is alive. If it cannot see a writer's process, it calls watch,
// which may be nil, and waits for stalledAfter for a new heartbeat. Any change of the
// heartbeat counts, not its time, because clocks of other machines may be wrong.
func (r *Run) waitVacant(ctx context.Context, paths []string, watch func(earlier Status)) error {
	const interval = 50 * time.Millisecond
	e := gatherEvidence(time.Now())
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
			case !s.Phase.alive(), !r.status.Unlocked && e.lockProves(s), e.processGone(s), e.isCopy(s):
				continue
			case e.processHere(s), seen && !s.Heartbeat.Equal(before.Heartbeat):
				return fmt.Errorf("%w: %s", ErrLocked, s.describeWriter())
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
		case <-time.After(interval):
		}
	}
}

// settleTime is how long a process that has opened a run without a lock waits for another
// process that does the same at the same time.
const settleTime = time.Second

// checkRival returns an error if another process has opened the run at the same time, which
// is possible without locks. The process that wrote the status last keeps the run.
func (r *Run) checkRival(ctx context.Context) error {
	if !r.status.Unlocked {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settleTime):
	}
	if other := r.otherWriter(); other != nil {
		return fmt.Errorf("%w: %s", ErrLocked, other.describeWriter())
	}
	return nil
}
