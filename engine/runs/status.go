package runs

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Phase is the phase of a run or a stage.
type Phase string

// A stage is Waiting, Running, Stopped, Failed or Finished. A run can also be Queued,
// Submitted or Paused.
const (
	Waiting   Phase = "waiting"
	Running   Phase = "running"
	Queued    Phase = "queued"      // its process waits in the queue
	Submitted Phase = "submitted"   // a scheduler will start processes for its stages
	Paused    Phase = "paused"      // its process idles
	Stopped   Phase = "interrupted" // it was stopped on request, or its process is gone; it can be resumed
	Failed    Phase = "failed"
	Finished  Phase = "done"
)

// alive reports whether a run in this phase has a process.
func (p Phase) alive() bool { return p == Running || p == Paused || p == Queued }

// Status is the content of status.json, which the writer replaces every few seconds.
type Status struct {
	Phase     Phase     `json:"phase"`
	Stage     string    `json:"stage,omitempty"` // the current stage
	Message   string    `json:"message,omitempty"`
	PID       int       `json:"pid"`
	Process   Process   `json:"process"` // distinguishes the process from later ones with the same PID
	Host      string    `json:"host"`
	Started   time.Time `json:"started"`
	Heartbeat time.Time `json:"heartbeat"`
	Folder    FolderID  `json:"folder,omitzero"`    // the folder that the process writes; distinguishes it from copies
	Unlocked  bool      `json:"unlocked,omitempty"` // the file system has no locks

	// These are set for an attempt at a single stage.
	Attempt  int    `json:"attempt,omitempty"`
	Job      string `json:"job,omitempty"`     // the scheduler's name for its job
	Advanced bool   `json:"further,omitempty"` // it has saved a later checkpoint than the one it started from
}

// Process identifies a process, together with its PID. All fields are zero on systems other
// than Linux.
type Process struct {
	Boot      string `json:"boot,omitempty"`      // boot ID of the machine
	Namespace string `json:"namespace,omitempty"` // PID namespace; containers have their own
	Start     uint64 `json:"start,omitempty"`     // start time, clock ticks after boot
}

const (
	// beatEvery is the interval between heartbeats.
	beatEvery = 5 * time.Second
	// stalledAfter is the age at which a heartbeat counts as missing. On a busy machine
	// or a slow file system, two heartbeats may be late.
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

// readStatus reads a status file. If that is not valid, it tries again: on a full disk the
// file is overwritten in place, so that a reader may see a mixture of old and new content.
func readStatus(path string) (s Status, err error) {
	const tries, interval = 3, 10 * time.Millisecond
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
		time.Sleep(interval)
	}
}

// writeStatus replaces a status file atomically, through the file temp in the same folder.
// On a full disk it overwrites the file in place, which needs no more room, so that readers
// learn what went wrong.
func writeStatus(d disk, path, temp string, s Status) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	err = replace(d, path, temp, data)
	if isFull(err) && d.overwrite(path, data) == nil {
		return nil
	}
	return err
}
