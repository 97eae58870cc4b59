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

// Place is where a stage is that was submitted and is not done.
type Place struct {
	Stage  string
	Job    string
	State  string // Slurm's: "PENDING", "RUNNING", "FAILED", ...; "" if it does not know the job any more
	Reason string // Slurm's, why it waits or ended: "Priority", "DependencyNeverSatisfied"
	Node   string // on which it runs
}

// Lost says that Slurm has forgotten the job and the stage is not done.
func (p Place) Lost() bool { return p.State == "" }

// Output is the file in the run folder with what the job has said.
func (p Place) Output() string { return filepath.Join(attemptsDir, "slurm-"+p.Job+".out") }

// Active says that the job runs, or will by itself.
func (p Place) Active() bool {
	switch p.State {
	case "PENDING":
		return p.Reason != "DependencyNeverSatisfied"
	case "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESIZING":
		return true
	}
	return false
}

// Failed reports whether the job has ended without ending the stage.
func (p Place) Failed() bool {
	switch p.State {
	case "", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE":
		return true
	}
	return false
}

// Dependent reports whether the job waits for other jobs.
func (p Place) Dependent() bool { return p.State == "PENDING" && p.Reason == "Dependency" }

// Word is the state in lower case: "pending", "running", "lost".
func (p Place) Word() string {
	if p.Lost() {
		return "lost"
	}
	return strings.ToLower(p.State)
}

// String is "pending (Priority)", "running on node7", "lost".
func (p Place) String() string {
	switch {
	case p.State == "RUNNING":
		return "running on " + p.Node
	case p.Lost() || p.Reason == "" || p.Reason == "None":
		return p.Word()
	}
	return fmt.Sprintf("%s (%s)", p.Word(), p.Reason)
}

// Look asks Slurm where the stages of the run in dir are that were submitted and
// are not done, in the order in which they were submitted.
func Look(ctx context.Context, dir string) ([]Place, error) {
	r, err := readRecord(dir)
	if err != nil || r == nil {
		return nil, err
	}
	return r.look(ctx, dir)
}

func (r *record) look(ctx context.Context, dir string) ([]Place, error) {
	var places []Place
	seen := map[string]bool{}
	for _, s := range slices.Backward(r.Submissions) {
		var these []Place
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
					these = append(these, Place{Stage: stage, Job: j.of(stage)})
				}
			}
		}
		places = append(these, places...)
	}
	if len(places) == 0 {
		return nil, nil
	}
	var ids []string
	for _, p := range places {
		if !slices.Contains(ids, p.Job) {
			ids = append(ids, p.Job)
		}
	}
	known, err := squeue(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range places {
		p := &places[i]
		if q, ok := known[p.Job]; ok {
			p.State, p.Reason, p.Node = q.State, q.Reason, q.Node
		}
	}
	return places, nil
}

// Jobs names, for each stage of the run in dir that was submitted, the job or the
// task of an array that it was last submitted as.
func Jobs(dir string) (map[string]string, error) {
	r, err := readRecord(dir)
	if err != nil || r == nil {
		return nil, err
	}
	jobs := map[string]string{}
	for _, s := range r.Submissions {
		for _, j := range s.Jobs {
			for _, stage := range j.Stages {
				jobs[stage] = j.of(stage)
			}
		}
	}
	return jobs, nil
}

// Outputs are the files with what jobs of the run in dir have said that did not
// come as far as to begin their stages, by stage. What keeps a program from being
// started is told there and nowhere else.
func Outputs(dir string) (map[string]string, error) {
	jobs, err := Jobs(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for stage, id := range jobs {
		path := filepath.Join(dir, Place{Job: id}.Output())
		if info, err := os.Stat(path); err == nil && info.Size() > 0 && runs.StageLogPath(dir, stage) == "" {
			files[stage] = path
		}
	}
	return files, nil
}

// squeue asks for jobs and tasks of arrays by their ids.
func squeue(ctx context.Context, ids []string) (map[string]Place, error) {
	out, err := command(ctx, "", "squeue", "--noheader", "--array", "--states=all", "--jobs="+strings.Join(ids, ","), "--format=%i|%T|%r|%N")
	if err != nil && strings.Contains(err.Error(), "Invalid job id") { // what it says of a single one that it has forgotten
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseQueue(out), nil
}

// parseQueue reads squeue's lines of id, state, reason and node.
func parseQueue(out string) map[string]Place {
	known := map[string]Place{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(f) != 4 {
			continue // a note of the site's
		}
		known[f[0]] = Place{Job: f[0], State: f[1], Reason: strings.Trim(f[2], "()"), Node: f[3]}
	}
	return known
}

// AnyActive says whether one of the jobs runs, or will by itself.
func AnyActive(places []Place) bool { return slices.ContainsFunc(places, Place.Active) }

// Stop makes the jobs of the run in dir save checkpoints and end, and returns
// when they have. tell, which may be nil, is called with what is waited for. If
// ctx ends before, the request stands.
func Stop(ctx context.Context, dir string, tell func(string)) error {
	return end(ctx, dir, func(running []string) error {
		if len(running) == 0 {
			return nil
		}
		if tell != nil {
			jobs := "jobs"
			if len(running) == 1 {
				jobs = "job"
			}
			tell(fmt.Sprintf("waits for checkpoints of %d %s", len(running), jobs))
		}
		// The program is the batch shell. It takes this signal, and no other,
		// for the wish that it be not started again.
		_, err := command(ctx, "", "scancel", append([]string{"--quiet", "--batch", "--signal=INT"}, running...)...)
		return err
	})
}

// Kill ends the jobs of the run in dir without checkpoints.
func Kill(ctx context.Context, dir string) error {
	return end(ctx, dir, func(running []string) error {
		if len(running) == 0 {
			return nil
		}
		_, err := command(ctx, "", "scancel", append([]string{"--quiet", "--batch", "--signal=KILL"}, running...)...)
		return err
	})
}

// endEvery is how often it is looked whether the jobs have ended.
const endEvery = 500 * time.Millisecond

// end cancels what waits, has stop end what runs, and writes that the run was
// stopped.
func end(ctx context.Context, dir string, stop func(running []string) error) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := readRecord(dir)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("slurm: %s was not submitted", dir)
	}
	places, err := r.look(ctx, dir)
	if err != nil {
		return err
	}
	if !AnyActive(places) {
		return ErrNotActive
	}
	// What waits first: nothing begins because something else ends.
	told := map[string]bool{}
	for ; AnyActive(places); places, err = r.look(ctx, dir) {
		if err != nil {
			return err
		}
		var waiting, running []string
		for _, p := range places {
			switch {
			case !p.Active():
			case p.State == "PENDING" || p.State == "REQUEUED" || p.State == "REQUEUE_HOLD":
				waiting = append(waiting, p.Job)
			case !told[p.Job] && (p.State == "RUNNING" || p.State == "SUSPENDED"):
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
				told[id] = true
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
	return stopped(ctx, dir)
}

// ErrNotActive says that a run has no jobs that run or wait.
var ErrNotActive = errors.New("the run has no jobs in Slurm's queue")

// stopped writes that the run has stopped.
func stopped(ctx context.Context, dir string) error {
	run, err := launch.Open(ctx, dir)
	if err != nil {
		return err
	}
	const message = "stopped on request; its jobs are out of the queue"
	return errors.Join(run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message), run.Close())
}
