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

	"hatchery/engine/launch/slurm"
	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Submit submits a new run of a preset to Slurm. The flags for Slurm set values of
// [launch.slurm].
type Submit struct {
	PresetArg
	Slurm  bool `default:"true" negatable:"" help:"Submit the run to Slurm; otherwise only create its folder, and start the stages by hand with hatchery stage, on any machines that can access the folder."`
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

func (*Submit) Effect() Effect { return Acts }

// sets returns the values from the command line in the form for presets.Load.
func (cmd *Submit) sets() []string {
	sets := slices.Clone(cmd.Set)
	set := func(key, value string) { sets = append(sets, "launch.slurm."+key+"="+value) }
	for _, f := range []struct{ key, value string }{
		{"partition", cmd.Partition}, {"account", cmd.Account}, {"qos", cmd.QOS}, {"constraint", cmd.Constraint},
		{"time", cmd.Time}, {"gres", cmd.GRES}, {"mem", cmd.Mem},
	} {
		if f.value != "" {
			set(f.key, strconv.Quote(f.value))
		}
	}
	if cmd.CPUs != 0 {
		set("cpus", strconv.Itoa(cmd.CPUs))
	}
	if cmd.ArrayParallelism != 0 {
		set("array_parallelism", strconv.Itoa(cmd.ArrayParallelism))
	}
	if len(cmd.Extra) > 0 {
		words := make([]string, len(cmd.Extra))
		for i, w := range cmd.Extra {
			words[i] = strconv.Quote(w)
		}
		set("extra", "["+strings.Join(words, ", ")+"]")
	}
	return sets
}

func (cmd *Submit) Run(ctx context.Context, a *App) error {
	c, err := presets.Load(cmd.Preset, append(cmd.sets(), "run.together=false")) // each stage in a process of its own
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.CheckRemote(ctx, c); err != nil {
		return err
	}
	if cmd.DryRun {
		script, err := slurm.DryRun(c, filepath.Join(a.Root, runs.NewID(c.Name, time.Now())))
		if err != nil {
			return badInput{err}
		}
		_, err = fmt.Fprint(a.Out, script)
		return err
	}
	if !cmd.Slurm {
		return a.prepare(c, cmd.JSON)
	}
	dir, err := slurm.Start(ctx, a.Root, c)
	if err != nil {
		if dir != "" {
			err = fmt.Errorf("%w; to submit it again: hatchery resume %s", err, a.ref(dir))
		}
		return err
	}
	id := filepath.Base(dir)
	if cmd.JSON {
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
	fmt.Fprintf(a.Out, "%s\n%s is submitted\nto watch it: hatchery attach %s\nto stop it: hatchery stop %s\n", strings.ReplaceAll(s.Message, "; ", "\n  "), id, a.ref(dir), a.ref(dir))
	return nil
}

// prepare creates the folder of a run whose stages are started by hand.
func (a *App) prepare(c *presets.Config, asJSON bool) error {
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	if err := errors.Join(run.Finish(runs.Waiting, "its stages are started by hand"), run.Close()); err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"run": run.ID(), "dir": run.Dir()})
	}
	fmt.Fprintf(a.Out, "%s is created; execute its stages with:\n", run.ID())
	for _, s := range method.Stages(c) {
		fmt.Fprintf(a.Out, "hatchery stage --wait %s %s\n", a.ref(run.Dir()), s.Name)
	}
	return nil
}
