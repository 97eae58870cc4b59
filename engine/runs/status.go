package runs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// Phase is how far a run or a stage is.
type Phase string

// A stage is Waiting, Running, Finished or Failed. A run can also be Queued: its
// process waits for its turn; Paused: its process idles; or Stopped: interrupted
// on request, or its process is gone; it can be resumed; or Submitted: a
// scheduler starts processes for its stages when it sees fit.
const (
	Waiting   Phase = "waiting"
	Running   Phase = "running"
	Queued    Phase = "queued"
	Submitted Phase = "submitted"
	Paused    Phase = "paused"
	Stopped   Phase = "interrupted"
	Failed    Phase = "failed"
	Finished  Phase = "done"
)

// alive says whether a run of this phase has a process.
func (p Phase) alive() bool { return p == Running || p == Paused || p == Queued }

// Status is status.json: what the writing process last said of itself. It is
// replaced as a whole every few seconds.
type Status struct {
	Phase     Phase     `json:"phase"`
	Stage     string    `json:"stage,omitempty"` // where the run is
	Message   string    `json:"message,omitempty"`
	PID       int       `json:"pid"`
	Process   Process   `json:"process"` // tells the process from a later one of the same pid
	Host      string    `json:"host"`
	Started   time.Time `json:"started"`
	Heartbeat time.Time `json:"heartbeat"`

	// Of an attempt at a single stage.
	Attempt int    `json:"attempt,omitempty"`
	Job     string `json:"job,omitempty"`     // the scheduler's name of its job
	Further bool   `json:"further,omitempty"` // it has saved more than it began with
}

// Process identifies a process beyond its pid. All fields are empty where the
// operating system is not Linux.
type Process struct {
	Boot      string `json:"boot,omitempty"`      // the boot of the machine
	Namespace string `json:"namespace,omitempty"` // in which the pid counts; containers have their own
	Start     uint64 `json:"start,omitempty"`     // clock ticks after boot
}

const (
	// beatEvery is the time between heartbeats.
	beatEvery = 5 * time.Second
	// stalledAfter is the age from which a heartbeat counts as missing: two
	// may be late, on a busy machine or a slow file system.
	stalledAfter = 3 * beatEvery
)

// ReadStatus reads status.json of the run in dir.
func ReadStatus(dir string) (Status, error) {
	s, err := readStatus(filepath.Join(dir, statusFile))
	if err != nil {
		return s, fmt.Errorf("runs: %w", err)
	}
	return s, nil
}

func readStatus(path string) (s Status, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func writeStatus(path string, s Status) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(data, '\n'), 0o600)
}

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
func (s Status) Here() bool {
	host, _ := os.Hostname()
	here := machine()
	return s.Host == host && here.Start != 0 && s.Process.Boot == here.Boot &&
		s.Process.Namespace == here.Namespace && s.Process.Start == processStart(s.PID)
}

// ReadLiveness finds out whether the run in dir is being written. On the
// writer's machine it asks for the process, with its start time so that a
// later process of the same pid is not mistaken for it; from elsewhere there
// is only the heartbeat, and a crash looks like a stall.
//
// Of a run whose stages have processes of their own it is the health of one of
// those, or of the run where none is there any more.
func ReadLiveness(dir string, now time.Time) (Liveness, error) {
	s, err := ReadStatus(dir)
	if err != nil {
		return Liveness{}, err
	}
	host, _ := os.Hostname()
	whole := liveness(s, now, host, machine(), processStart)
	if whole.Alive == IsRunning || whole.Alive == IsStalled {
		return whole, nil
	}
	attempts, err := ReadAttempts(dir, now)
	if err != nil {
		return Liveness{}, err
	}
	return together(whole, attempts), nil
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

// liveness decides with what the reader knows: its host, its own boot and
// namespace, and a function that finds the start of a process here, 0 if
// there is no such process.
func liveness(s Status, now time.Time, host string, here Process, start func(pid int) uint64) Liveness {
	l := Liveness{Alive: IsRunning, Silent: max(0, now.Sub(s.Heartbeat)), Status: s}
	sameHost := s.Host == host && here.Start != 0 && s.Process.Start != 0
	switch {
	case !s.Phase.alive():
		l.Alive = IsFinished
	case sameHost && s.Process.Boot != here.Boot:
		l.Alive = IsCrashed // the machine was restarted since
	case sameHost && s.Process.Namespace == here.Namespace && start(s.PID) != s.Process.Start:
		l.Alive = IsCrashed
	case l.Silent > stalledAfter:
		l.Alive = IsStalled
	}
	return l
}
