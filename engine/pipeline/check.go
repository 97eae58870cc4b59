package pipeline

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/limits"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Invalid is an experiment that cannot start as it is configured.
type Invalid struct{ Err error }

func (e *Invalid) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Invalid) Unwrap() error { return e.Err }

// Validate checks a configuration against itself and against what is known of
// its data set without touching its files. Errors are an *Invalid.
func Validate(c *presets.Config) error {
	d, _ := datasets.Describe(c.Data.Name) // an unknown name is for Check to find
	return validate(c, d)
}

func validate(c *presets.Config, d datasets.Info) error {
	info := presets.DataInfo{Classes: len(d.Classes), Height: d.Height, Width: d.Width, Channels: d.Channels, Train: d.Train, Eval: d.Eval}
	if err := c.Validate(info, recipeTables(c)...); err != nil {
		return &Invalid{err}
	}
	return nil
}

// recipeTables names the tables with the recipes of the stages of an experiment.
func recipeTables(c *presets.Config) []string {
	var all []string
	for _, s := range Stages(c) {
		if table, ok := tables[s.Kind]; ok && !slices.Contains(all, table) {
			all = append(all, table)
		}
	}
	return all
}

// Check makes sure, before the first step, of everything that could stop a run
// later: the configuration, the files of the data set, memory, and disk space
// in the folder that will hold the run. Errors are an *Invalid or that of ctx.
func Check(ctx context.Context, c *presets.Config, root string) error {
	if err := CheckElsewhere(ctx, c); err != nil {
		return err
	}
	if err := checkDevice(c); err != nil {
		return &Invalid{err}
	}
	estimates, err := Plan(ctx, c, TrainImages(c))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &Invalid{err}
	}
	return checkMachine(ctx, c, estimates, root)
}

// CheckElsewhere is Check for an experiment that other machines will run, which
// see the same files: it leaves out what is of this machine.
func CheckElsewhere(ctx context.Context, c *presets.Config) error {
	if err := Validate(c); err != nil {
		return err
	}
	if err := c.Runnable(); err != nil {
		return &Invalid{err}
	}
	found, err := datasets.Inspect(ctx, Source(c))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Invalid{err}
	}
	if found.Part.K > 0 && !c.Data.Partition {
		return &Invalid{fmt.Errorf("data.root = %q has %v of the training images only: it serves the module that trains on that part, with data.partition = true", c.Data.Root, found.Part)}
	}
	if err := checkParts(ctx, c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Invalid{err}
	}
	// Again with what only the files say: the classes of a folder of pictures.
	return validate(c, found)
}

// TrainImages is the number of images that an epoch visits, 0 if it is
// not known. A fraction of the set has epochs as long as those of all of it
// (presets.Data). Only for a folder of pictures are the files looked at.
func TrainImages(c *presets.Config) int {
	a := augment(c)
	if c.Data.Train > 0 {
		return a.Visits(c.Data.Train)
	}
	d, err := datasets.Describe(c.Data.Name)
	if err == nil && d.Train == 0 && c.Data.Root != "" {
		d, err = datasets.Inspect(context.Background(), datasets.Source{Name: c.Data.Name, Root: c.Data.Root})
	}
	if err != nil {
		return 0
	}
	return a.Visits(d.Train)
}

// CheckRest is Check for the stages of the run in dir that are not done.
func CheckRest(ctx context.Context, c *presets.Config, dir string) error {
	if err := CheckElsewhere(ctx, c); err != nil {
		return err
	}
	if err := checkDevice(c); err != nil {
		return &Invalid{err}
	}
	var left []Stage
	for _, s := range Stages(c) {
		// Resuming will report what is wrong with a done file.
		if o, err := runs.ReadOutcome(dir, s.Name); err != nil || o == nil {
			left = append(left, s)
		}
	}
	estimates, err := planStages(ctx, c, TrainImages(c), left)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &Invalid{err}
	}
	return checkMachine(ctx, c, estimates, dir)
}

// checkMachine compares what stages need with the memory of this process and the free
// space of dir, which may hold some of their checkpoints already.
func checkMachine(ctx context.Context, c *presets.Config, estimates []Estimate, dir string) error {
	var problems []string
	memory, bound := limits.Available()
	for _, e := range estimates {
		// A GPU does with what it has, or the estimate is an error.
		needs := e.Memory()
		if e.begun(dir) {
			needs += e.Beside.Resuming
		}
		if e.Device == "cpu" && bound && needs > memory.Bytes {
			problems = append(problems, fmt.Sprintf("%s needs %s of memory, and this process can have %s (%s): %s, or %s",
				e.Name, Bytes(needs), Bytes(memory.Bytes), memory.From, less(ctx, c, e, memory.Bytes), memory.Raise))
		}
	}
	if ctx.Err() != nil { // during the search for a smaller one
		return ctx.Err()
	}
	needs := diskNeeded(estimates, dir)
	if free := limits.Disk(dir); free > 0 && needs > free {
		problems = append(problems, fmt.Sprintf("the checkpoints need up to %s more, and only %s are free in %s: free some space, or set HATCHERY_RUNS to a folder with more",
			Bytes(needs), Bytes(free), dir))
	}
	if len(problems) == 0 {
		return nil
	}
	return &Invalid{fmt.Errorf("%s", strings.Join(problems, "\n"))}
}

// begun reports whether a stage of the estimate has a checkpoint in the run in dir.
func (e Estimate) begun(dir string) bool {
	return slices.ContainsFunc(e.Checkpoints, func(f Files) bool { return folderBytes(runs.StageDir(dir, f.Stage)) >= f.Bytes })
}

// less says how to change the configuration so that a stage needs no more than the
// given memory.
func less(ctx context.Context, c *presets.Config, e Estimate, memory int64) string {
	table := tables[e.Kind]
	if table == "" {
		return "make the model smaller"
	}
	smaller := *c
	r := recipe(&smaller, e.Kind)
	for parts := 2; parts <= r.Batch; parts++ {
		micro := r.Batch / parts
		if r.Batch%parts != 0 || r.MicroBatch > 0 && micro >= r.MicroBatch {
			continue
		}
		r.MicroBatch = micro
		estimates, err := planStages(ctx, &smaller, 0, stagesOf(&smaller, e))
		if err == nil && len(estimates) == 1 && estimates[0].Memory() <= memory {
			return fmt.Sprintf("set %s.micro_batch = %d", table, micro)
		}
	}
	if e.Together > 1 {
		return "set run.together = false"
	}
	return fmt.Sprintf("make the model or %s.batch smaller", table)
}

// stagesOf lists the stages of an estimate.
func stagesOf(c *presets.Config, e Estimate) (all []Stage) {
	for _, s := range Stages(c) {
		if slices.ContainsFunc(e.Checkpoints, func(f Files) bool { return f.Stage == s.Name }) {
			all = append(all, s)
		}
	}
	return all
}

// diskNeeded returns the most bytes that a run still has to write into its folder: the
// checkpoints that its stages keep, less those that are there, and one more of the
// largest, since a checkpoint is written before an old one is removed.
func diskNeeded(estimates []Estimate, dir string) (needs int64) {
	var largest int64
	for _, e := range estimates {
		for _, f := range e.Checkpoints {
			largest = max(largest, f.Bytes)
			needs += max(0, int64(f.Kept)*f.Bytes-folderBytes(runs.StageDir(dir, f.Stage)))
		}
	}
	return needs + largest
}

// folderBytes returns the size of the files in a folder, counting a file with several
// names once. It is 0 if there is no folder.
func folderBytes(dir string) (sum int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var seen []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || slices.ContainsFunc(seen, func(o fs.FileInfo) bool { return os.SameFile(o, info) }) {
			continue
		}
		seen = append(seen, info)
		sum += info.Size()
	}
	return sum
}

// tables are the configuration's tables by the kind of stage they are for.
var tables = map[Kind]string{Meta: "meta", Incubate: "modular", Imitate: "modular", Finetune: "finetune", E2E: "e2e", HighRes: "highres"}

// Bytes writes a size as "1.5 GiB".
func Bytes(n int64) string {
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(byteUnits)-1 {
		size /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, byteUnits[unit])
}

var byteUnits = []string{"B", "KiB", "MiB", "GiB", "TiB"}
