package slurm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
)

// StageJob is the job of a stage that was submitted and is not done.
type StageJob struct {
	Stage  string
	Job    string // id of the job or the array task
	State  string // Slurm's state: "PENDING", "RUNNING", "FAILED", ...; "" if Slurm does not know the job any more
	Reason string // Slurm's reason for the state: "Priority", "DependencyNeverSatisfied"
	Node   string // the node on which the job runs
}

// Lost reports whether Slurm does not know the job any more, although the stage is not done.
func (p StageJob) Lost() bool { return p.State == "" }

// Output returns the path of the job's output file, relative to the run folder.
func (p StageJob) Output() string { return filepath.Join(attemptsDir, "slurm-"+p.Job+".out") }

// Active reports whether the job runs, or will run without intervention.
func (p StageJob) Active() bool {
	switch p.State {
	case "PENDING":
		return p.Reason != "DependencyNeverSatisfied"
	case "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESIZING":
		return true
	}
	return false
}

// Failed reports whether the job has ended although the stage is not done. It returns false
// for a job that was cancelled.
func (p StageJob) Failed() bool {
	switch p.State {
	case "", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE":
		return true
	}
	return false
}

// Dependent reports whether the job waits for other jobs.
func (p StageJob) Dependent() bool { return p.State == "PENDING" && p.Reason == "Dependency" }

// Word returns the state in lower case: "pending", "running", "lost".
func (p StageJob) Word() string {
	if p.Lost() {
		return "lost"
	}
	return strings.ToLower(p.State)
}

// String returns, for example, "pending (Priority)", "running on node7" or "lost".
func (p StageJob) String() string {
	switch {
	case p.State == "RUNNING":
		return "running on " + p.Node
	case p.Lost() || p.Reason == "" || p.Reason == "None":
		return p.Word()
	}
	return fmt.Sprintf("%s (%s)", p.Word(), p.Reason)
}

// StageJobs asks Slurm for the jobs of the unfinished stages of the run in dir. It returns
// those that were submitted, in the order of their submission.
func StageJobs(ctx context.Context, dir string) ([]StageJob, error) {
	r, err := readRecord(dir)
	if err != nil || r == nil {
		return nil, err
	}
	return r.stageJobs(ctx, dir)
}

func (r *record) stageJobs(ctx context.Context, dir string) ([]StageJob, error) {
	var all []StageJob
	seen := map[string]bool{}
	for _, s := range slices.Backward(r.Submissions) {
		var recent []StageJob
		for _, j := range s.Jobs {
			for _, stage := range j.Stages {
				if seen[stage] {
					continue
				}
				seen[stage] = true
				o, err := runs.ReadOutcome(dir, stage)
				if err != nil {
					return nil, err
				}
				if o == nil {
					recent = append(recent, StageJob{Stage: stage, Job: j.taskFor(stage)})
				}
			}
		}
		all = append(recent, all...)
	}
	if len(all) == 0 {
		return nil, nil
	}
	var ids []string
	for _, p := range all {
		if !slices.Contains(ids, p.Job) {
			ids = append(ids, p.Job)
		}
	}
	known, err := squeue(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range all {
		p := &all[i]
		if q, ok := known[p.Job]; ok {
			p.State, p.Reason, p.Node = q.State, q.Reason, q.Node
		}
	}
	return all, nil
}

// Jobs returns, for each stage of the run in dir that was submitted, the id of its last job or
// array task.
func Jobs(dir string) (map[string]string, error) {
	r, err := readRecord(dir)
	if err != nil || r == nil {
		return nil, err
	}
	jobs := map[string]string{}
	for _, s := range r.Submissions {
		for _, j := range s.Jobs {
			for _, stage := range j.Stages {
				jobs[stage] = j.taskFor(stage)
			}
		}
	}
	return jobs, nil
}

// Outputs returns, by stage, the output files of those jobs of the run in dir that have not
// started their stage. If the program cannot be started, only such a file has the reason.
func Outputs(dir string) (map[string]string, error) {
	jobs, err := Jobs(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for stage, id := range jobs {
		path := filepath.Join(dir, StageJob{Job: id}.Output())
		if info, err := os.Stat(path); err == nil && info.Size() > 0 && runs.StageLogPath(dir, stage) == "" {
			files[stage] = path
		}
	}
	return files, nil
}

// squeue asks Slurm for jobs and array tasks by their ids.
func squeue(ctx context.Context, ids []string) (map[string]StageJob, error) {
	out, err := command(ctx, "", "squeue", "--noheader", "--array", "--states=all", "--jobs="+strings.Join(ids, ","), "--format=%i|%T|%r|%N")
	if err != nil && strings.Contains(err.Error(), "Invalid job id") { // the only job is not known any more
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseQueue(out), nil
}

// parseQueue parses the output of squeue, lines of id, state, reason and node.
func parseQueue(out string) map[string]StageJob {
	known := map[string]StageJob{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(f) != 4 {
			continue // a message of the site
		}
		known[f[0]] = StageJob{Job: f[0], State: f[1], Reason: strings.Trim(f[2], "()"), Node: f[3]}
	}
	return known
}

// AnyActive reports whether any of the jobs is active.
func AnyActive(jobs []StageJob) bool { return slices.ContainsFunc(jobs, StageJob.Active) }

// Stop makes the jobs of the run in dir save checkpoints and end, and returns when they have
// ended. progress, which may be nil, is called with what Stop is waiting for. If ctx is done
// first, the request remains in effect.
func Stop(ctx context.Context, dir string, progress func(string)) error {
	return endJobs(ctx, dir, func(running []string) error {
		if len(running) == 0 {
			return nil
		}
		if progress != nil {
			jobs := "jobs"
			if len(running) == 1 {
				jobs = "job"
			}
			progress(fmt.Sprintf("waiting for checkpoints of %d %s", len(running), jobs))
		}
		// The program runs in place of the batch shell. SIGINT is the only signal after
		// which it is not started again.
		_, err := command(ctx, "", "scancel", append([]string{"--quiet", "--batch", "--signal=INT"}, running...)...)
		return err
	})
}

// Kill ends the jobs of the run in dir without checkpoints.
func Kill(ctx context.Context, dir string) error {
	return endJobs(ctx, dir, func(running []string) error {
		if len(running) == 0 {
			return nil
		}
		_, err := command(ctx, "", "scancel", append([]string{"--quiet", "--batch", "--signal=KILL"}, running...)...)
		return err
	})
}

// endEvery is the interval at which endJobs checks whether the jobs have ended.
const endEvery = 500 * time.Millisecond

// endJobs cancels waiting jobs, calls stop to end running jobs, waits until all have ended, and
// records that the run was stopped.
func endJobs(ctx context.Context, dir string, stop func(running []string) error) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	r, err := readRecord(dir)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("slurm: %s was not submitted", dir)
	}
	jobs, err := r.stageJobs(ctx, dir)
	if err != nil {
		return err
	}
	if !AnyActive(jobs) {
		return ErrNotActive
	}
	// Waiting jobs come first, so that none starts when another one ends.
	signalled := map[string]bool{}
	for ; AnyActive(jobs); jobs, err = r.stageJobs(ctx, dir) {
		if err != nil {
			return err
		}
		var waiting, running []string
		for _, p := range jobs {
			switch {
			case !p.Active():
			case p.State == "PENDING" || p.State == "REQUEUED" || p.State == "REQUEUE_HOLD":
				waiting = append(waiting, p.Job)
			case !signalled[p.Job] && (p.State == "RUNNING" || p.State == "SUSPENDED"):
				running = append(running, p.Job)
			}
		}
		slices.Sort(waiting)
		if waiting = slices.Compact(waiting); len(waiting) > 0 {
			if _, err := command(ctx, "", "scancel", append([]string{"--quiet"}, waiting...)...); err != nil {
				return err
			}
		}
		slices.Sort(running)
		if running = slices.Compact(running); len(running) > 0 {
			if err := stop(running); err != nil {
				return err
			}
			for _, id := range running {
				signalled[id] = true
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(endEvery):
		}
	}
	if err != nil {
		return err
	}
	return recordStopped(ctx, dir)
}

// ErrNotActive means that no jobs of a run are running or waiting.
var ErrNotActive = errors.New("the run has no jobs in Slurm's queue")

// recordStopped writes to the run that it has stopped.
func recordStopped(ctx context.Context, dir string) error {
	run, err := launch.Open(ctx, dir)
	if err != nil {
		return err
	}
	const message = "stopped on request; its jobs were removed from the queue"
	return errors.Join(run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message), run.Close())
}
