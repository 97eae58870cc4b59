package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// Submission says how a run is to be submitted. What it asks of Slurm are values
// of [launch.slurm].
type Submission struct {
	Slurm  bool `default:"true" negatable:"" help:"To Slurm; otherwise make the run's folder only, whose stages are then started by hand with hatchery stage, on as many machines as see it."`
	DryRun bool `help:"Show the jobs, as a script, and submit nothing."`
	JSON   bool `help:"Write the run's name, its folder and the job of each stage as JSON."`

	Partition        string   `placeholder:"NAME" help:"launch.slurm.partition"`
	Account          string   `placeholder:"NAME" help:"launch.slurm.account"`
	QOS              string   `name:"qos" placeholder:"NAME" help:"launch.slurm.qos"`
	Constraint       string   `placeholder:"FEATURES" help:"launch.slurm.constraint"`
	Time             string   `placeholder:"LIMIT" help:"launch.slurm.time: 90, 4:00:00, 2-12"`
	GRES             string   `name:"gres" placeholder:"LIST" help:"launch.slurm.gres: gpu:1"`
	CPUs             int      `name:"cpus" placeholder:"N" help:"launch.slurm.cpus"`
	Mem              string   `placeholder:"SIZE" help:"launch.slurm.mem: 16G"`
	ArrayParallelism int      `placeholder:"N" help:"launch.slurm.array_parallelism: modules at a time"`
	Extra            []string `sep:"none" placeholder:"OPTION" help:"launch.slurm.extra: --extra=--exclude=node7"`
}

// sets are the values that the command line gives, as presets.Load takes them.
func (s Submission) sets() []string {
	var sets []string
	set := func(key, value string) { sets = append(sets, "launch.slurm."+key+"="+value) }
	for _, w := range []struct{ key, value string }{
		{"partition", s.Partition}, {"account", s.Account}, {"qos", s.QOS}, {"constraint", s.Constraint},
		{"time", s.Time}, {"gres", s.GRES}, {"mem", s.Mem},
	} {
		if w.value != "" {
			set(w.key, strconv.Quote(w.value))
		}
	}
	if s.CPUs != 0 {
		set("cpus", strconv.Itoa(s.CPUs))
	}
	if s.ArrayParallelism != 0 {
		set("array_parallelism", strconv.Itoa(s.ArrayParallelism))
	}
	if len(s.Extra) > 0 {
		words := make([]string, len(s.Extra))
		for i, w := range s.Extra {
			words[i] = strconv.Quote(w)
		}
		set("extra", "["+strings.Join(words, ", ")+"]")
	}
	return sets
}

// Submit hands a new run of a preset to Slurm.
func (a *App) Submit(ctx context.Context, preset string, sets []string, how Submission) error {
	sets = append(slices.Clone(sets), how.sets()...)
	c, err := presets.Load(preset, append(sets, "run.together=false")) // each stage in a process of its own
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.CheckElsewhere(ctx, c); err != nil {
		return err
	}
	if how.DryRun {
		script, err := slurm.DryRun(c, filepath.Join(a.Root, runs.NewID(c.Name, time.Now())))
		if err != nil {
			return badInput{err}
		}
		_, err = fmt.Fprint(a.Out, script)
		return err
	}
	if !how.Slurm {
		return a.prepare(c, how)
	}
	dir, err := slurm.Start(ctx, a.Root, c)
	if err != nil {
		if dir != "" {
			err = fmt.Errorf("%w; to submit it again: hatchery resume %s", err, a.ref(dir))
		}
		return err
	}
	id := filepath.Base(dir)
	if how.JSON {
		jobs, err := slurm.Jobs(dir)
		if err != nil {
			return err
		}
		return json.NewEncoder(a.Out).Encode(map[string]any{"run": id, "dir": dir, "jobs": jobs})
	}
	s, err := runs.ReadStatus(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s\n%s is submitted\nto see it: hatchery attach %s\nto stop it: hatchery stop %s\n", strings.ReplaceAll(s.Message, "; ", "\n  "), id, a.ref(dir), a.ref(dir))
	return nil
}

// prepare makes the folder of a run whose stages are started by hand.
func (a *App) prepare(c *presets.Config, how Submission) error {
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	if err := errors.Join(run.Finish(runs.Waiting, "its stages are started by hand"), run.Close()); err != nil {
		return err
	}
	if how.JSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"run": run.ID(), "dir": run.Dir()})
	}
	fmt.Fprintf(a.Out, "%s is there; execute its stages with\n", run.ID())
	for _, s := range method.Stages(c) {
		fmt.Fprintf(a.Out, "hatchery stage --wait %s %s\n", run.ID(), s.Name)
	}
	return nil
}

// resubmit submits the stages of a run that are neither done nor in the queue.
func (a *App) resubmit(ctx context.Context, dir string, c *presets.Config, how Start) error {
	if how.Queue {
		return badInput{errors.New("this run's stages are jobs of Slurm, which has a queue of its own: leave --queue out")}
	}
	if err := pipeline.CheckElsewhere(ctx, c); err != nil {
		return err
	}
	stages, err := slurm.Resume(ctx, dir, c)
	if err != nil {
		return err
	}
	if len(stages) > 0 {
		fmt.Fprintf(a.Out, "submitted %s\n", strings.Join(stages, ", "))
		return nil
	}
	if state, err := runs.ReadState(dir); err != nil || state.Phase == runs.Finished {
		fmt.Fprintln(a.Out, "every stage is done")
		return err
	}
	places, err := slurm.Look(ctx, dir)
	if err != nil {
		return err
	}
	if len(places) > 0 {
		fmt.Fprintln(a.Out, "every stage that is not done is in the queue; hatchery status shows where")
		return nil
	}
	// Two jobs ended at the same time, and neither saw the other's results.
	run, err := launch.Open(ctx, dir)
	if err != nil {
		return err
	}
	return a.execute(ctx, c, run, how)
}

// stopJobs stops a run that is in Slurm's hands.
func (a *App) stopJobs(ctx context.Context, dir string, kill bool) error {
	var err error
	if kill {
		err = slurm.Kill(ctx, dir)
	} else {
		err = slurm.Stop(ctx, dir, func(waits string) { fmt.Fprintln(a.Out, waits) })
	}
	if errors.Is(err, slurm.ErrNotActive) {
		return badInput{err}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "stopped\ngo on with: hatchery resume %s\n", a.ref(dir))
	return nil
}

// lookEvery is how often Slurm is asked about a run that somebody waits for. It
// serves the whole cluster, so this is not often.
const lookEvery = 5 * time.Second

// waitJobs returns when no job of a run in Slurm's hands runs or waits, with how
// the run is then.
func (a *App) waitJobs(ctx context.Context, dir string) (runs.Liveness, error) {
	for {
		places, err := slurm.Look(ctx, dir)
		if err != nil {
			return runs.Liveness{}, err
		}
		live, err := runs.ReadLiveness(dir, time.Now())
		if err != nil || live.Alive == runs.IsFinished {
			return live, err
		}
		state, err := runs.ReadState(dir)
		if err != nil {
			return live, err
		}
		if over, gone := watch.GivenUp(state, live, places); gone {
			over.Status.Message += fmt.Sprintf("; mend it and go on with: hatchery resume %s", a.ref(dir))
			return over, nil
		}
		if live, err = a.untilNews(ctx, dir, live); err != nil {
			return live, err
		}
	}
}

// untilNews waits until Slurm can be asked again, or the run has ended.
func (a *App) untilNews(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, error) {
	const often = 200 * time.Millisecond
	for end := time.Now().Add(lookEvery); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return live, ctx.Err()
		case <-time.After(often):
		}
		var err error
		if live, err = runs.ReadLiveness(dir, time.Now()); err != nil || live.Alive == runs.IsFinished {
			return live, err
		}
	}
	return live, nil
}
