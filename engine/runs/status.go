package runs

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
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

// Status is the content of status.json, which the writing process replaces every few
// seconds.
type Status struct {
	Phase     Phase     `json:"phase"`
	Stage     string    `json:"stage,omitempty"` // where the run is
	Message   string    `json:"message,omitempty"`
	PID       int       `json:"pid"`
	Process   Process   `json:"process"` // tells the process from a later one of the same pid
	Host      string    `json:"host"`
	Started   time.Time `json:"started"`
	Heartbeat time.Time `json:"heartbeat"`
	Folder    FolderID  `json:"folder,omitzero"`    // the folder that it writes, to tell it from copies
	Unlocked  bool      `json:"unlocked,omitempty"` // the file system has no locks

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
	// stalledAfter is the age at which a heartbeat counts as missing. On a busy
	// machine or a slow file system two of them may be late.
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

// readStatus reads a status, several times if need be: on a full disk a status is
// overwritten in place, so that a reader may see half of the old one and half of
// the new one.
func readStatus(path string) (s Status, err error) {
	const tries, moment = 3, 10 * time.Millisecond
	for try := 1; ; try++ {
		data, err := readSmall(path)
		if err != nil {
			return s, err
		}
		s = Status{}
		if err = json.Unmarshal(data, &s); err == nil {
			return s, nil
		}
		if try == tries {
			return s, fmt.Errorf("%s: %w", path, err)
		}
		time.Sleep(moment)
	}
}

// writeStatus replaces a status, by way of the file temp beside it. On a full disk
// it overwrites the present status, which needs no more room, so that readers learn
// what went wrong.
func writeStatus(d disk, path, temp string, s Status) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	err = replace(d, path, temp, data)
	if full(err) && d.overwrite(path, data) == nil {
		return nil
	}
	return err
}
