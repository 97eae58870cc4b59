// Package slurm hands the stages of a run to Slurm, one job or array task a
// stage, and says what has become of them.
//
// Slurm decides when and where a stage runs. What has happened to it the run
// folder tells, which all nodes must see: a job executes `hatchery stage`, which
// finds there what is done and leaves there what it does. So nothing is lost
// with a job, and submitting, repairing and resuming are one thing: find the
// stages that are neither done nor in the queue, and submit those.
//
// Slurm's own commands are executed; their options and formats here are those
// that have not changed from 20.11 to 24.11.
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

// Available says why runs cannot be submitted from this machine, nil if they can.
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

// command executes one of Slurm's commands.
func command(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ(os.Environ())
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(strings.ReplaceAll(text, "\n", "; "))
		}
		return "", fmt.Errorf("slurm: %s: %w", name, err)
	}
	return out.String(), nil
}

// environ leaves out what would change the commands: defaults that users keep
// for themselves, and, in a job, that job's properties, which a new one would
// inherit.
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

	attemptsDir = "attempts" // where the jobs' output is, beside what package runs keeps there
)

// record is what was submitted of a run.
type record struct {
	Folder      string       `json:"folder"` // in which the jobs begin, to which relative paths of the configuration refer
	Submissions []submission `json:"submissions"`
}

// submission is jobs that were submitted together. They are held back until all
// of them are recorded.
type submission struct {
	Time     time.Time `json:"time"`
	Released bool      `json:"released"`
	Jobs     []job     `json:"jobs"`
}

// job is a job or an array of them.
type job struct {
	ID     string   `json:"id"`
	Stages []string `json:"stages"`
	Array  []int    `json:"array,omitempty"` // the indices, one a stage; otherwise one job executes the stages one after another
}

// number matches the id of a Slurm job.
var number = regexp.MustCompile(`^[0-9]+$`)

// of is the job, or the task of the array, that executes a stage; "" if none
// does.
func (j job) of(stage string) string {
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

// Has says whether the run in dir was submitted to Slurm.
func Has(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, recordFile))
	return err == nil
}

// readRecord returns nil for a run that was not submitted.
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

// ErrBusy is wrapped when another process submits or stops the run.
var ErrBusy = errors.New("another process is submitting or stopping the run")

// lock keeps others from submitting or stopping the run until unlock is called.
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
