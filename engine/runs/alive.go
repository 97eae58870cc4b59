package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hatchery/engine/quantity"
)

// Alive tells whether a process executes a run.
type Alive string

// Values of Liveness.Alive.
const (
	IsRunning  Alive = "running"
	IsStalled  Alive = "stalled"  // the heartbeat is missing: the process is stopped or swapped out, or its disk or network hangs
	IsCrashed  Alive = "crashed"  // the process is gone and did not write the reason
	IsFinished Alive = "finished" // the process ended and wrote the outcome: see Status.Phase
	IsAway     Alive = "away"     // there is no process now, but a scheduler will start one
)

// Liveness is a run's status, and whether its process is alive.
type Liveness struct {
	Alive  Alive
	Silent time.Duration // since the last heartbeat
	Status Status
}

// String returns "running", "paused", "queued", "stalled 42s", "crashed", or the
// phase in which the run ended.
func (l Liveness) String() string {
	switch l.Alive {
	case IsStalled:
		return "stalled " + quantity.Duration(l.Silent.Seconds())
	case IsRunning, IsFinished, IsAway:
		return string(l.Status.Phase)
	}
	return string(l.Alive)
}

// Local reports whether the process that wrote the status is alive and can be signalled
// from here by its PID. It returns false if that is unknown.
func (s Status) Local() bool { return gatherEvidence(time.Now()).processHere(s) }

// ReadLiveness determines whether a process executes the run in dir, from the process, the
// lock and the heartbeat as far as they are visible from here:
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
// The lock is held if a process holds it exclusively. It is unknown if this user
// cannot read it, if the file system has no locks, and for attempts of older
// versions of this program. "Not held" means free or unknown. A free lock proves
// something only about this machine, since some file systems do not share locks
// between machines.
//
// (1) If the writer runs in another boot of a machine, the run counts as crashed only
// once the heartbeat is old, because device numbers may differ between machines.
//
// (2) A writer holds the lock of its folder as long as its status says that it is at
// work. If the lock of this folder is free, the writer must have another folder.
//
// (3) Either the machine was restarted, or the writer is on another machine of the
// same name, as containers often are, and its heartbeats arrive here.
//
// If stages of the run have their own processes, the result is that of one of these
// processes, or that of the run if none of them is alive.
func ReadLiveness(dir string, now time.Time) (Liveness, error) {
	return flocks.readLiveness(dir, now)
}

func (l locking) readLiveness(dir string, now time.Time) (Liveness, error) {
	s, err := ReadStatus(dir)
	if err != nil {
		return Liveness{}, err
	}
	e := gatherEvidence(now)
	if s.Phase.alive() {
		e.folder, e.lock = folderID(dir), l.inspect(filepath.Join(dir, lockFile))
	}
	run := e.judge(s)
	if run.Alive == IsRunning || run.Alive == IsStalled {
		return run, nil
	}
	attempts, err := l.readAttempts(dir, now)
	if err != nil {
		return Liveness{}, err
	}
	return combine(run, attempts), nil
}

// ReadAttempts returns the liveness of the newest attempt at each stage of the run in dir
// that has attempts, sorted by stage.
func ReadAttempts(dir string, now time.Time) ([]Liveness, error) {
	return flocks.readAttempts(dir, now)
}

func (l locking) readAttempts(dir string, now time.Time) ([]Liveness, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	e := gatherEvidence(now)
	e.folder = folderID(dir)
	var found []Liveness
	for _, a := range all.newest() {
		s, err := readStatus(attemptPath(dir, a.stage, a.number, ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the attempt has just started, or failed before it wrote a status
		}
		if err != nil {
			found = append(found, l.judgeUnreadable(dir, a, err))
			continue
		}
		e.lock = l.inspectAttempt(dir, a, s)
		found = append(found, e.judge(s))
	}
	return found, nil
}

// judgeUnreadable returns the liveness of an attempt whose status cannot be read. It
// judges by the attempt's lock only: if that is free, the process is gone.
func (l locking) judgeUnreadable(dir string, a attemptName, err error) Liveness {
	s := Status{Phase: Running, Stage: a.stage, Attempt: a.number, Folder: folderID(dir), Message: fmt.Sprintf("cannot read its status: %v", err)}
	if l.inspectAttempt(dir, a, s) == lockFree {
		return Liveness{Alive: IsCrashed, Status: s}
	}
	return Liveness{Alive: IsStalled, Status: s}
}

// inspectAttempt returns the state of an attempt's lock, which is on its log file.
func (l locking) inspectAttempt(dir string, a attemptName, s Status) lockState {
	if !s.Phase.alive() || s.Folder == (FolderID{}) { // written before attempts had locks
		return lockUnknown
	}
	return l.inspect(attemptPath(dir, a.stage, a.number, ".log"))
}

// combine returns the liveness of a run from that of its status and those of its attempts.
// No process executes the whole run.
func combine(run Liveness, attempts []Liveness) Liveness {
	var stalled *Liveness
	last := run
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
	case run.Status.Phase == Submitted:
		run.Alive = IsAway // the scheduler may start a stalled stage again elsewhere
		return run
	case run.Status.Phase == Finished:
		return run
	case stalled != nil:
		return *stalled
	}
	return last
}

// evidence holds what a reader knows about a run besides its status.
type evidence struct {
	now    time.Time
	host   string
	self   Process
	start  func(pid int) uint64 // the start time of a process here, 0 if there is none
	lock   lockState
	folder FolderID // the folder of the status; zero means unknown
}

func gatherEvidence(now time.Time) evidence {
	host, _ := os.Hostname()
	return evidence{now: now, host: host, self: thisProcess(), start: processStart}
}

// judge applies the table in the comment of ReadLiveness.
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
	case e.isCopy(s):
		crashed = e.sameBoot(s) || old
	case e.sameProcesses(s):
		crashed = e.processGone(s) || e.lock == lockFree && e.lockProves(s)
	case e.sameBoot(s):
		crashed = old && e.lock == lockFree && e.lockProves(s)
	case s.Host == e.host && e.self.Boot != "" && s.Process.Boot != "":
		crashed = old
	}
	if crashed {
		l.Alive = IsCrashed
	}
	return l
}

// sameBoot reports whether the writer was started on this machine after its last reboot,
// perhaps in another container.
func (e evidence) sameBoot(s Status) bool {
	return e.self.Start != 0 && s.Process.Start != 0 && s.Process.Boot == e.self.Boot
}

// sameProcesses reports whether the writer's PID refers to the same process here.
func (e evidence) sameProcesses(s Status) bool {
	return e.sameBoot(s) && s.Host == e.host && s.Process.Namespace == e.self.Namespace
}

func (e evidence) processHere(s Status) bool {
	return e.sameProcesses(s) && e.start(s.PID) == s.Process.Start
}

// processGone reports whether the writer is known to be gone. A later process with
// the same PID is recognised by its start time.
func (e evidence) processGone(s Status) bool {
	return e.sameProcesses(s) && e.start(s.PID) != s.Process.Start
}

// isCopy reports whether the writer has another folder than this one, which is then a copy.
func (e evidence) isCopy(s Status) bool {
	if s.Folder == (FolderID{}) || e.folder == (FolderID{}) {
		return false
	}
	if e.sameBoot(s) {
		return s.Folder != e.folder
	}
	return s.Folder.Inode != e.folder.Inode
}

// lockProves reports whether a free lock proves that the writer is gone.
func (e evidence) lockProves(s Status) bool { return e.sameBoot(s) && !s.Unlocked }
