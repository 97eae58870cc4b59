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

// Start makes the folder of a new run under root and submits its stages. Check
// the configuration with pipeline.CheckElsewhere before. If there is a folder,
// dir is set beside an error too: Resume submits what could not be submitted.
func Start(ctx context.Context, root string, c *presets.Config) (dir string, err error) {
	if err := Available(); err != nil {
		return "", err
	}
	alone := *c
	alone.Run.Together = false // each in a job of its own
	run, err := runs.Create(root, runs.NewID(c.Name, time.Now()), alone.TOML())
	if err != nil {
		return "", err
	}
	dir = run.Dir()
	if err := errors.Join(run.Finish(runs.Waiting, "its jobs are being submitted"), run.Close()); err != nil {
		return dir, err
	}
	_, err = Resume(ctx, dir, &alone)
	return dir, err
}

// Resume submits the stages of the run in dir that are neither done nor in the
// queue, and returns their names. There are none if everything is done: then
// only results may be missing.
func Resume(ctx context.Context, dir string, c *presets.Config) ([]string, error) {
	if err := pipeline.CheckRecipe(c, dir, method.Stage{}); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &record{}
	}
	p, err := newPlace(dir, r.Folder, c)
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
	if err := os.MkdirAll(filepath.Join(dir, attemptsDir), 0o700); err != nil { // where the jobs' output goes
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

// missing lists the stages that are neither done nor in the queue, and the jobs
// of those that are in the queue.
func (r *record) missing(ctx context.Context, dir string, c *presets.Config) (missing []method.Stage, queued map[string]string, err error) {
	places, err := r.look(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	queued = map[string]string{}
	var hopeless []string
	for _, p := range places {
		switch {
		case p.Active():
			queued[p.Stage] = p.Job
		case p.State == "PENDING": // for something that will not happen
			hopeless = append(hopeless, p.Job)
		}
	}
	if len(hopeless) > 0 {
		if _, err := command(ctx, "", "scancel", append([]string{"--quiet"}, hopeless...)...); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range method.Stages(c) {
		done, err := pipeline.Ready(c, dir, s)
		if err != nil && !errors.As(err, new(*pipeline.NotReady)) {
			return nil, nil, err
		}
		if _, is := queued[s.Name]; !done && !is {
			missing = append(missing, s)
		}
	}
	return missing, queued, nil
}

// withdraw cancels what a process left held that died while it submitted.
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

// cancel ends jobs that have not begun.
func cancel(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil // which scancel calls an error
	}
	_, err := command(ctx, "", "scancel", append([]string{"--quiet"}, ids...)...)
	if err != nil && strings.Contains(err.Error(), "Invalid job id") {
		return nil // it is gone
	}
	return err
}

// submit submits drafts: all of them or none. Those that need no other one are
// held back until all are in the queue and recorded, and with them the rest.
func (r *record) submit(ctx context.Context, p place, all []draft, plan []runs.StagePlan) (err error) {
	r.Submissions = append(r.Submissions, submission{Time: time.Now().UTC().Truncate(time.Second)})
	this := &r.Submissions[len(r.Submissions)-1]
	var ids, held []string
	announced := false
	defer func() {
		if err == nil {
			return
		}
		// Also when ctx ended.
		if undo := cancel(context.WithoutCancel(ctx), ids); undo != nil {
			err = fmt.Errorf("%w; jobs %s are left held in the queue: %w", err, strings.Join(ids, " "), undo)
			return
		}
		r.Submissions = r.Submissions[:len(r.Submissions)-1]
		err = errors.Join(err, writeRecord(p.dir, r))
		if announced {
			err = errors.Join(err, stopped(context.WithoutCancel(ctx), p.dir))
		}
	}()
	for _, d := range all {
		hold := len(d.after) == 0
		out, err := command(ctx, p.script(d), "sbatch", p.arguments(d, ids, hold)...)
		if err != nil {
			return err
		}
		id, err := submitted(out)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		if hold {
			held = append(held, id)
		}
		this.Jobs = append(this.Jobs, job{ID: id, Stages: d.stages, Array: d.array})
		if err := writeRecord(p.dir, r); err != nil {
			return err
		}
	}
	this.Released = true
	if err := writeRecord(p.dir, r); err != nil {
		return err
	}
	if announced, err = announce(p.dir, this.Jobs, plan); err != nil {
		return err
	}
	_, err = command(ctx, "", "scontrol", append([]string{"release"}, held...)...)
	return err
}

// submitted returns the job's number from the output of sbatch, whose last line is
// "id" or "id;cluster". A site may print other lines before it.
func submitted(out string) (string, error) {
	out = strings.TrimSpace(out)
	id, _, _ := strings.Cut(out[strings.LastIndexByte(out, '\n')+1:], ";")
	if !number.MatchString(id) {
		return "", fmt.Errorf("slurm: sbatch printed %q instead of a job number; squeue --me lists the jobs in the queue", out)
	}
	return id, nil
}

// announce tells readers of the run what was submitted. While jobs of the run
// are at work already, its status and its events say so, and it says nothing.
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

// plan is what readers can be told of the stages before one has begun.
func plan(ctx context.Context, c *presets.Config) ([]runs.StagePlan, error) {
	estimates, err := pipeline.Plan(ctx, c, pipeline.TrainImages(c))
	if err != nil {
		return nil, err
	}
	var plan []runs.StagePlan
	for _, e := range estimates {
		cost := max(e.MACs(), float64(e.Network.Forward)) // of assembling, which is next to nothing
		plan = append(plan, runs.StagePlan{Stage: e.Name, Method: e.Method(), StageInfo: e.Describe(c), Epochs: e.Epochs, Steps: e.Steps, Cost: cost})
	}
	return plan, nil
}
