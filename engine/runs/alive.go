package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Alive says whether a run's process is there.
type Alive string

// What Liveness finds.
const (
	IsRunning  Alive = "running"
	IsStalled  Alive = "stalled"  // there, but no heartbeat: stopped, swapped out, or its disk or network hangs
	IsCrashed  Alive = "crashed"  // gone without a last word
	IsFinished Alive = "finished" // ended in an orderly way; Status.Phase says how
	IsAway     Alive = "away"     // there is none at present, but a scheduler will start one
)

// Liveness is what the status of a run means at a moment.
type Liveness struct {
	Alive  Alive
	Silent time.Duration // since the last heartbeat
	Status Status
}

// String is "running", "paused", "queued", "stalled 42s", "crashed", or how the run ended.
func (l Liveness) String() string {
	switch l.Alive {
	case IsStalled:
		return fmt.Sprintf("stalled %v", l.Silent.Round(time.Second))
	case IsRunning, IsFinished, IsAway:
		return string(l.Status.Phase)
	}
	return string(l.Alive)
}

// Here says whether the writer still lives and PID is its number for this
// process too. It is false where that cannot be told.
func (s Status) Here() bool { return evidenceNow(time.Now()).processHere(s) }

// ReadLiveness finds out whether the run in dir is being written, by what can be
// known from here of its process, its lock and its heartbeat:
//
//	phase    lock      writer                            heartbeat  is
//	ended    any       any                               any        finished
//	at work  held      any                               fresh      running
//	at work  held      any                               old        stalled
//	at work  not held  its folder is another (a copy)    any        crashed  (1)
//	at work  not held  of this machine, and gone         any        crashed
//	at work  free      of this machine, and there        any        crashed  (2)
//	at work  unknown   of this machine, and there        fresh      running
//	at work  unknown   of this machine, and there        old        stalled
//	at work  free      of another container here         fresh      running
//	at work  free      of another container here         old        crashed
//	at work  unknown   of another container here         fresh      running
//	at work  unknown   of another container here         old        stalled
//	at work  not held  of this hostname, another boot    fresh      running  (3)
//	at work  not held  of this hostname, another boot    old        crashed  (3)
//	at work  not held  of another host                   fresh      running
//	at work  not held  of another host                   old        stalled
//
// The lock is held if a process has it for itself alone; it is unknown if this
// user cannot read it, if the file system has no locks, and of the attempts
// of older versions of this program. Not held is free or unknown. A free lock tells
// of this machine only: some file systems keep locks to their machine.
//
// (1) If the writer is of another boot than this reader, only once the heartbeat is
// old: what numbers a folder has may differ between machines.
//
// (2) A writer holds the lock of its folder for as long as it says that it is at
// work, so this folder is not the one.
//
// (3) The machine was restarted; or it is another one of the same name, as
// containers often have, whose heartbeats arrive.
//
// Of a run whose stages have processes of their own it is the health of one of
// those, or of the run where none is there any more.
func ReadLiveness(dir string, now time.Time) (Liveness, error) {
	return flocks.readLiveness(dir, now)
}

func (l locking) readLiveness(dir string, now time.Time) (Liveness, error) {
	s, err := ReadStatus(dir)
	if err != nil {
		return Liveness{}, err
	}
	e := evidenceNow(now)
	if s.Phase.alive() {
		e.folder, e.lock = folderID(dir), l.look(filepath.Join(dir, lockFile))
	}
	whole := e.judge(s)
	if whole.Alive == IsRunning || whole.Alive == IsStalled {
		return whole, nil
	}
	attempts, err := l.readAttempts(dir, now)
	if err != nil {
		return Liveness{}, err
	}
	return together(whole, attempts), nil
}

// ReadAttempts returns the health of the newest attempt of each stage of the
// run in dir that has, or had, a process of its own, sorted by stage.
func ReadAttempts(dir string, now time.Time) ([]Liveness, error) {
	return flocks.readAttempts(dir, now)
}

func (l locking) readAttempts(dir string, now time.Time) ([]Liveness, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	e := evidenceNow(now)
	e.folder = folderID(dir)
	var found []Liveness
	for _, a := range all.newest() {
		s, err := readStatus(attemptPath(dir, a.stage, a.number, ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has only just begun, or never did
		}
		if err != nil {
			return nil, fmt.Errorf("runs: %w", err)
		}
		e.lock = l.lookAtAttempt(dir, a, s)
		found = append(found, e.judge(s))
	}
	return found, nil
}

// lookAtAttempt looks at the lock of an attempt, which is on its log.
func (l locking) lookAtAttempt(dir string, a attemptName, s Status) lockState {
	if !s.Phase.alive() || s.Folder == (FolderID{}) { // written before attempts had locks
		return lockUnknown
	}
	return l.look(attemptPath(dir, a.stage, a.number, ".log"))
}

// together is the health of a run of which no process has the whole.
func together(whole Liveness, attempts []Liveness) Liveness {
	var stalled *Liveness
	last := whole
	for i, a := range attempts {
		switch {
		case a.Alive == IsRunning:
			return a
		case a.Alive == IsStalled && stalled == nil:
			stalled = &attempts[i]
		case a.Status.Heartbeat.After(last.Status.Heartbeat):
			last = a
		}
	}
	switch {
	case whole.Status.Phase == Submitted:
		whole.Alive = IsAway // what seems to be stalled may be started again elsewhere
		return whole
	case whole.Status.Phase == Finished:
		return whole
	case stalled != nil:
		return *stalled
	}
	return last
}

// evidence is what a reader knows that a status does not say.
type evidence struct {
	now    time.Time
	host   string
	here   Process
	start  func(pid int) uint64 // of a process here, 0 if there is no such process
	lock   lockState
	folder FolderID // in which the status was found; zero: unknown
}

func evidenceNow(now time.Time) evidence {
	host, _ := os.Hostname()
	return evidence{now: now, host: host, here: machine(), start: processStart}
}

// judge decides by the table of ReadLiveness.
func (e evidence) judge(s Status) Liveness {
	l := Liveness{Alive: IsRunning, Silent: max(0, e.now.Sub(s.Heartbeat)), Status: s}
	old := l.Silent > stalledAfter
	if old {
		l.Alive = IsStalled
	}
	crashed := false
	switch {
	case !s.Phase.alive():
		l.Alive = IsFinished
	case e.lock == lockHeld:
	case e.copied(s):
		crashed = e.sameBoot(s) || old
	case e.sameProcesses(s):
		crashed = e.processGone(s) || e.lock == lockFree && e.lockTells(s)
	case e.sameBoot(s):
		crashed = old && e.lock == lockFree && e.lockTells(s)
	case s.Host == e.host && e.here.Boot != "" && s.Process.Boot != "":
		crashed = old
	}
	if crashed {
		l.Alive = IsCrashed
	}
	return l
}

// sameBoot says whether the writer has, or had, this very machine under it,
// though perhaps in another container.
func (e evidence) sameBoot(s Status) bool {
	return e.here.Start != 0 && s.Process.Start != 0 && s.Process.Boot == e.here.Boot
}

// sameProcesses says whether the writer's pid counts here too.
func (e evidence) sameProcesses(s Status) bool {
	return e.sameBoot(s) && s.Host == e.host && s.Process.Namespace == e.here.Namespace
}

func (e evidence) processHere(s Status) bool {
	return e.sameProcesses(s) && e.start(s.PID) == s.Process.Start
}

// processGone says whether the writer is known to be gone. That a later process
// has its pid is no mistake, for that started later.
func (e evidence) processGone(s Status) bool {
	return e.sameProcesses(s) && e.start(s.PID) != s.Process.Start
}

// copied says whether the writer's folder is another one than this.
func (e evidence) copied(s Status) bool {
	if s.Folder == (FolderID{}) || e.folder == (FolderID{}) {
		return false
	}
	if e.sameBoot(s) {
		return s.Folder != e.folder
	}
	return s.Folder.Inode != e.folder.Inode
}

// lockTells says whether a lock that is free here is free for the writer too,
// which then is gone.
func (e evidence) lockTells(s Status) bool { return e.sameBoot(s) && !s.Unlocked }
