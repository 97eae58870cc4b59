package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/engine/quantity"
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
	problems := method.Check(c)
	if err := c.Validate(info, recipeTables(c)...); err != nil {
		var more presets.Problems
		if !errors.As(err, &more) {
			return &Invalid{err}
		}
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		return &Invalid{problems}
	}
	return nil
}

// recipeTables names the tables with the recipes of the stages of an experiment.
func recipeTables(c *presets.Config) []string {
	var all []string
	for _, s := range method.Stages(c) {
		if s.Trains() && !slices.Contains(all, s.Recipe) {
			all = append(all, s.Recipe)
		}
	}
	return all
}

// Check makes sure, before the first step, that nothing will stop the run later: the
// configuration, the files of the data set, memory, and disk space
// in the folder that will hold the run. Errors are an *Invalid or that of ctx.
func Check(ctx context.Context, c *presets.Config, root string) error {
	return CheckPlan(ctx, c, nil, root)
}

// CheckPlan is Check with the estimates of Plan, or nil if it has not been called.
func CheckPlan(ctx context.Context, c *presets.Config, estimates []Estimate, root string) error {
	if err := checkHere(ctx, c); err != nil {
		return err
	}
	if estimates == nil {
		var err error
		estimates, err = Plan(ctx, c, TrainImages(c))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return &Invalid{err}
		}
	}
	return checkMachine(ctx, c, estimates, root)
}

// checkHere is Check without memory and disk space.
func checkHere(ctx context.Context, c *presets.Config) error {
	if err := CheckElsewhere(ctx, c); err != nil {
		return err
	}
	if err := checkDevice(c); err != nil {
		return &Invalid{err}
	}
	return nil
}

// CheckElsewhere is Check for an experiment that other machines will run, which see the
// same files. It does not check this machine.
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

// TrainImages returns the number of images in an epoch; 0 means unknown. With a fraction
// of a data set, epochs are as long as with all of it (presets.Data). Files are read only
// if the data set is a folder of pictures.
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
	if err := checkHere(ctx, c); err != nil {
		return err
	}
	var left []method.Stage
	for _, s := range method.Stages(c) {
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
				e.Name, quantity.Bytes(needs), quantity.Bytes(memory.Bytes), memory.From, less(ctx, c, e, memory.Bytes), memory.Raise))
		}
	}
	if ctx.Err() != nil { // during the search for a smaller one
		return ctx.Err()
	}
	needs := diskNeeded(estimates, dir)
	if free := limits.Disk(dir); free > 0 && needs > free {
		problems = append(problems, fmt.Sprintf("the checkpoints need up to %s more, and only %s are free in %s: free some space, or set HATCHERY_RUNS to a folder with more",
			quantity.Bytes(needs), quantity.Bytes(free), dir))
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
	if !e.Trains() {
		return "make the model smaller"
	}
	smaller := *c
	r := e.Settings(&smaller)
	for parts := 2; parts <= r.Batch; parts++ {
		micro := r.Batch / parts
		if r.Batch%parts != 0 || r.MicroBatch > 0 && micro >= r.MicroBatch {
			continue
		}
		r.MicroBatch = micro
		estimates, err := planStages(ctx, &smaller, 0, stagesOf(&smaller, e))
		if err == nil && len(estimates) == 1 && estimates[0].Memory() <= memory {
			return fmt.Sprintf("set %s.micro_batch = %d", e.Recipe, micro)
		}
	}
	if e.Together > 1 {
		return "set run.together = false"
	}
	return fmt.Sprintf("make the model or %s.batch smaller", e.Recipe)
}

// stagesOf lists the stages of an estimate.
func stagesOf(c *presets.Config, e Estimate) (all []method.Stage) {
	for _, s := range method.Stages(c) {
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
