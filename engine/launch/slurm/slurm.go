// Package slurm submits the stages of a run to Slurm, one job or array task per stage, and
// reports the state of the jobs.
//
// Slurm decides when and where a stage runs. The state of the stages is in the run folder,
// which all nodes must see: a job executes `hatchery stage`, which reads from the folder what
// is done and writes its results to it. Losing a job therefore loses nothing else, and
// submitting, repairing and resuming are the same operation: find the stages that are neither
// done nor in the queue, and submit them.
//
// The package executes Slurm's commands. It uses only options and formats that are the same
// from version 20.11 to 24.11.
package slurm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"hatchery/engine/atomicfile"
	"hatchery/engine/runs"
)

// Available returns an error if runs cannot be submitted from this machine.
func Available() error {
	for _, name := range []string{"sbatch", "squeue", "scancel", "scontrol"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("this machine cannot submit to Slurm: %w", err)
		}
	}
	return nil
}

// patience is how long Slurm's controller may take to answer a command.
const patience = time.Minute

// command executes a Slurm command and returns its output.
func command(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ(os.Environ())
	cmd.Stdin = strings.NewReader(stdin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = errors.New(strings.ReplaceAll(text, "\n", "; "))
		}
		return "", fmt.Errorf("slurm: %s: %w", name, err)
	}
	return out.String(), nil
}

// environ removes variables that would affect the commands: the user's defaults and, inside a
// job, the properties of that job, which a new job would inherit.
func environ(all []string) []string {
	var kept []string
	for _, v := range all {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "SBATCH_") || strings.HasPrefix(name, "SQUEUE_") || strings.HasPrefix(name, "SCANCEL_") ||
			strings.HasPrefix(name, "SLURM_") && name != "SLURM_CONF" {
			continue
		}
		kept = append(kept, v)
	}
	return append(kept, "SLURM_TIME_FORMAT=standard")
}

// The files of this package in a run folder.
const (
	recordFile = "slurm.json"
	lockFile   = "slurm.lock"

	attemptsDir = "attempts" // has the output of jobs, and files of package runs
)

// record is the record of a run's submissions.
type record struct {
	Folder      string       `json:"folder"` // working directory of the jobs; relative paths in the configuration refer to it
	Submissions []submission `json:"submissions"`
}

// submission holds the jobs that were submitted together. They are held until all of them are
// recorded.
type submission struct {
	Time     time.Time `json:"time"`
	Released bool      `json:"released"`
	Jobs     []job     `json:"jobs"`
}

// job is a job or a job array.
type job struct {
	ID     string   `json:"id"`
	Stages []string `json:"stages"`
	Array  []int    `json:"array,omitempty"` // array indices, one per stage; nil if one job executes the stages one after another
}

// number matches the id of a Slurm job.
var number = regexp.MustCompile(`^[0-9]+$`)

// taskFor returns the id of the job or the array task that executes a stage, "" if there is
// none.
func (j job) taskFor(stage string) string {
	for i, s := range j.Stages {
		if s != stage {
			continue
		}
		if j.Array == nil {
			return j.ID
		}
		return fmt.Sprintf("%s_%d", j.ID, j.Array[i])
	}
	return ""
}

// Submitted reports whether the run in dir was submitted to Slurm.
func Submitted(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, recordFile))
	return err == nil
}

// readRecord reads the record of the run in dir. It returns nil if the run was not submitted.
func readRecord(dir string) (*record, error) {
	path := filepath.Join(dir, recordFile)
	data, err := runs.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("slurm: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("slurm: %s: %w", path, err)
	}
	for _, s := range r.Submissions {
		for _, j := range s.Jobs {
			if !number.MatchString(j.ID) {
				return nil, fmt.Errorf("slurm: %s: %q is not the number of a job", path, j.ID)
			}
			if j.Array != nil && len(j.Array) != len(j.Stages) {
				return nil, fmt.Errorf("slurm: %s: job %s has %d tasks for %d stages", path, j.ID, len(j.Array), len(j.Stages))
			}
			if slices.ContainsFunc(j.Array, func(n int) bool { return n < 0 }) {
				return nil, fmt.Errorf("slurm: %s: job %s has a negative task number: %v", path, j.ID, j.Array)
			}
		}
	}
	return &r, nil
}

func writeRecord(dir string, r *record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, recordFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("slurm: %w", err)
	}
	return nil
}

// ErrBusy is wrapped if another process is submitting or stopping the run.
var ErrBusy = errors.New("another process is submitting or stopping the run")

// lock keeps other processes from submitting or stopping the run until unlock is called.
func lock(dir string) (unlock func() error, err error) {
	l := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	locked, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("slurm: %w", err)
	}
	if !locked {
		l.Close()
		return nil, fmt.Errorf("slurm: %s: %w", dir, ErrBusy)
	}
	return l.Close, nil
}
