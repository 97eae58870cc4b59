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

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Start creates the folder of a new run under root and submits its stages. Check the
// configuration with pipeline.CheckRemote first. If the folder has been created, dir is set
// even if there is an error; Resume then submits the missing stages.
func Start(ctx context.Context, root string, c *presets.Config) (dir string, err error) {
	if err := Available(); err != nil {
		return "", err
	}
	separate := *c
	separate.Run.Together = false // each stage has its own job
	run, err := runs.Create(root, runs.NewID(c.Name, time.Now()), separate.TOML())
	if err != nil {
		return "", err
	}
	dir = run.Dir()
	if err := errors.Join(run.Finish(runs.Waiting, "its jobs are being submitted"), run.Close()); err != nil {
		return dir, err
	}
	_, err = Resume(ctx, dir, &separate)
	return dir, err
}

// Resume submits the stages of the run in dir that are neither done nor in the queue, and
// returns their names. If there are none and all stages are done, only the results may be
// missing.
func Resume(ctx context.Context, dir string, c *presets.Config) ([]string, error) {
	if err := pipeline.CheckRecipe(c, dir, method.Stage{}); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unlock() }()
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &record{}
	}
	p, err := newJobSetup(dir, r.Folder, c)
	if err != nil {
		return nil, err
	}
	r.Folder = p.folder
	if err := r.withdraw(ctx, dir); err != nil {
		return nil, err
	}
	missing, queued, err := r.missing(ctx, dir, c)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, attemptsDir), 0o700); err != nil { // for the output of the jobs
		return nil, fmt.Errorf("slurm: %w", err)
	}
	plan, err := plan(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.submit(ctx, p, drafts(missing, queued), plan); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range missing {
		names = append(names, s.Name)
	}
	return names, nil
}

// missing returns the stages that are neither done nor in the queue, and the jobs of those
// that are in the queue.
func (r *record) missing(ctx context.Context, dir string, c *presets.Config) (missing []method.Stage, queued map[string]string, err error) {
	jobs, err := r.stageJobs(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	queued = map[string]string{}
	var stuck []string
	for _, p := range jobs {
		switch {
		case p.Active():
			queued[p.Stage] = p.Job
		case p.State == "PENDING": // it waits for a job that has failed
			stuck = append(stuck, p.Job)
		}
	}
	if len(stuck) > 0 {
		if _, err := command(ctx, "", "scancel", append([]string{"--quiet"}, stuck...)...); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range method.Stages(c) {
		done, err := pipeline.Ready(c, dir, s)
		if err != nil && !errors.As(err, new(*pipeline.NotReady)) {
			return nil, nil, err
		}
		if _, waiting := queued[s.Name]; !done && !waiting {
			missing = append(missing, s)
		}
	}
	return missing, queued, nil
}

// withdraw cancels held jobs of a process that died during a submission.
func (r *record) withdraw(ctx context.Context, dir string) error {
	var held []string
	r.Submissions = slices.DeleteFunc(r.Submissions, func(s submission) bool {
		if s.Released {
			return false
		}
		for _, j := range s.Jobs {
			held = append(held, j.ID)
		}
		return true
	})
	if len(held) == 0 {
		return nil
	}
	if err := cancel(ctx, held); err != nil {
		return err
	}
	return writeRecord(dir, r)
}

// cancel cancels jobs that have not started.
func cancel(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil // scancel would fail
	}
	_, err := command(ctx, "", "scancel", append([]string{"--quiet"}, ids...)...)
	if err != nil && strings.Contains(err.Error(), "Invalid job id") {
		return nil // the job does not exist any more
	}
	return err
}

// submit submits all drafts or none. Jobs without dependencies on other drafts are held until
// all jobs are in the queue and recorded.
func (r *record) submit(ctx context.Context, p jobSetup, all []draft, plan []runs.StagePlan) (err error) {
	r.Submissions = append(r.Submissions, submission{Time: time.Now().UTC().Truncate(time.Second)})
	sub := &r.Submissions[len(r.Submissions)-1]
	var ids, held []string
	announced := false
	defer func() {
		if err == nil {
			return
		}
		// Without cancellation, because ctx may be done.
		if undo := cancel(context.WithoutCancel(ctx), ids); undo != nil {
			err = fmt.Errorf("%w; jobs %s remain held in the queue: %w", err, strings.Join(ids, " "), undo)
			return
		}
		r.Submissions = r.Submissions[:len(r.Submissions)-1]
		err = errors.Join(err, writeRecord(p.dir, r))
		if announced {
			err = errors.Join(err, recordStopped(context.WithoutCancel(ctx), p.dir))
		}
	}()
	for _, d := range all {
		hold := len(d.after) == 0
		out, err := command(ctx, p.script(d), "sbatch", p.arguments(d, ids, hold)...)
		if err != nil {
			return err
		}
		id, err := parseJobID(out)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		if hold {
			held = append(held, id)
		}
		sub.Jobs = append(sub.Jobs, job{ID: id, Stages: d.stages, Array: d.array})
		if err := writeRecord(p.dir, r); err != nil {
			return err
		}
	}
	sub.Released = true
	if err := writeRecord(p.dir, r); err != nil {
		return err
	}
	if announced, err = announce(p.dir, sub.Jobs, plan); err != nil {
		return err
	}
	_, err = command(ctx, "", "scontrol", append([]string{"release"}, held...)...)
	return err
}

// parseJobID returns the job id from the output of sbatch, whose last line is "id" or
// "id;cluster". A site may print other lines before it.
func parseJobID(out string) (string, error) {
	out = strings.TrimSpace(out)
	id, _, _ := strings.Cut(out[strings.LastIndexByte(out, '\n')+1:], ";")
	if !number.MatchString(id) {
		return "", fmt.Errorf("slurm: sbatch printed %q instead of a job number; squeue --me lists the jobs in the queue", out)
	}
	return id, nil
}

// announce writes the submission to the events and the status of the run. It does nothing if
// jobs of the run are already running, since its events and its status then show that.
func announce(dir string, jobs []job, plan []runs.StagePlan) (announced bool, err error) {
	run, err := runs.Open(dir)
	if errors.Is(err, runs.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var words []string
	for _, j := range jobs {
		words = append(words, fmt.Sprintf("job %s: %s", j.ID, strings.Join(j.Stages, ", ")))
	}
	e := runs.Event{Kind: runs.Submit, Plan: plan, Message: "submitted to Slurm; " + strings.Join(words, "; ")}
	return true, errors.Join(run.Emit(e), run.Finish(runs.Submitted, e.Message), run.Close())
}

// plan returns the planned stages for the run's events.
func plan(ctx context.Context, c *presets.Config) ([]runs.StagePlan, error) {
	estimates, err := pipeline.Plan(ctx, c, pipeline.TrainImages(c))
	if err != nil {
		return nil, err
	}
	var plan []runs.StagePlan
	for _, e := range estimates {
		cost := max(e.MACs(), float64(e.Network.Forward)) // MACs is 0 for assembling
		plan = append(plan, runs.StagePlan{Stage: e.Name, Method: e.Method(), StageInfo: e.Describe(c), Epochs: e.Epochs, Steps: e.Steps, Cost: cost})
	}
	return plan, nil
}
