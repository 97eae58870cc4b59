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

// Invalid is the error of an experiment that cannot start with its configuration or data.
type Invalid struct{ Err error }

func (e *Invalid) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *Invalid) Unwrap() error { return e.Err }

// Validate checks a configuration for consistency with itself and with its data set, without
// reading the files of the data set. The error is an *Invalid.
func Validate(c *presets.Config) error {
	d, _ := datasets.Describe(c.Data.Name) // Check will report an unknown name
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

// recipeTables returns the names of the tables with the recipes of an experiment's stages.
func recipeTables(c *presets.Config) []string {
	var all []string
	for _, s := range method.Stages(c) {
		if s.Trains() && !slices.Contains(all, s.Recipe) {
			all = append(all, s.Recipe)
		}
	}
	return all
}

// Check looks for problems that would stop the run later: in the configuration, the files of
// the data set, the memory, and the disk space of root, the folder that will hold the run.
// The error is an *Invalid or that of ctx.
func Check(ctx context.Context, c *presets.Config, root string) error {
	return CheckPlan(ctx, c, nil, root)
}

// CheckPlan is Check with the estimates of Plan. If they are nil, it calls Plan.
func CheckPlan(ctx context.Context, c *presets.Config, estimates []Estimate, root string) error {
	if err := checkDataAndDevice(ctx, c); err != nil {
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

// checkDataAndDevice is Check without the checks of memory and disk space.
func checkDataAndDevice(ctx context.Context, c *presets.Config) error {
	if err := CheckRemote(ctx, c); err != nil {
		return err
	}
	if err := checkDevice(c); err != nil {
		return &Invalid{err}
	}
	return nil
}

// CheckRemote is Check for an experiment that will run on other machines, which see the same
// files. It does not check the device, the memory and the disk space.
func CheckRemote(ctx context.Context, c *presets.Config) error {
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
		return &Invalid{fmt.Errorf("data.root = %q has only %v of the training images: it can be used only for the module that trains on that part, with data.partition = true", c.Data.Root, found.Part)}
	}
	if err := checkParts(ctx, c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Invalid{err}
	}
	// Validate again, now with information that only the files have: the classes of a
	// folder of pictures.
	return validate(c, found)
}

// TrainImages returns the number of images in an epoch; 0 means unknown. With a fraction of a
// data set, epochs are as long as with the whole set (presets.Data). It reads files only if
// the data set is a folder of pictures.
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

// CheckUnfinished is Check for the unfinished stages of the run in dir.
func CheckUnfinished(ctx context.Context, c *presets.Config, dir string) error {
	if err := checkDataAndDevice(ctx, c); err != nil {
		return err
	}
	var left []method.Stage
	for _, s := range method.Stages(c) {
		// Resuming will report an invalid done file.
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

// checkMachine compares the needs of stages with the memory that this process may use and the
// free disk space of dir, which may already hold some checkpoints.
func checkMachine(ctx context.Context, c *presets.Config, estimates []Estimate, dir string) error {
	var problems []string
	memory, bound := limits.Available()
	for _, e := range estimates {
		// For a GPU, Plan returns an error if the memory does not suffice.
		needs := e.Memory()
		if e.hasCheckpoint(dir) {
			needs += e.Process.Resuming
		}
		if e.Device == "cpu" && bound && needs > memory.Bytes {
			problems = append(problems, fmt.Sprintf("%s needs %s of memory, but this process can have only %s (%s): %s, or %s",
				e.Name, quantity.Bytes(needs), quantity.Bytes(memory.Bytes), memory.From, suggestSmaller(ctx, c, e, memory.Bytes), memory.Raise))
		}
	}
	if ctx.Err() != nil { // suggestSmaller may have been interrupted
		return ctx.Err()
	}
	needs := diskNeeded(estimates, dir)
	if free := limits.Disk(dir); free > 0 && needs > free {
		problems = append(problems, fmt.Sprintf("the checkpoints need up to %s more, but only %s are free in %s: free some space, or set HATCHERY_RUNS to a folder with more space",
			quantity.Bytes(needs), quantity.Bytes(free), dir))
	}
	if len(problems) == 0 {
		return nil
	}
	return &Invalid{fmt.Errorf("%s", strings.Join(problems, "\n"))}
}

// hasCheckpoint reports whether a stage of the estimate has a checkpoint in the run folder
// dir.
func (e Estimate) hasCheckpoint(dir string) bool {
	return slices.ContainsFunc(e.Checkpoints, func(f Files) bool { return folderBytes(runs.StageDir(dir, f.Stage)) >= f.Bytes })
}

// suggestSmaller returns a change of the configuration, in words, after which a stage needs
// no more than the given memory.
func suggestSmaller(ctx context.Context, c *presets.Config, e Estimate, memory int64) string {
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
	if e.GroupSize > 1 {
		return "set run.together = false"
	}
	return fmt.Sprintf("make the model or %s.batch smaller", e.Recipe)
}

// stagesOf returns the stages of an estimate.
func stagesOf(c *presets.Config, e Estimate) (all []method.Stage) {
	for _, s := range method.Stages(c) {
		if slices.ContainsFunc(e.Checkpoints, func(f Files) bool { return f.Stage == s.Name }) {
			all = append(all, s)
		}
	}
	return all
}

// diskNeeded returns the largest number of bytes that a run still has to write to its folder:
// the checkpoints that its stages keep, minus the files that exist, plus one more of the
// largest checkpoint, because a checkpoint is written before an old one is removed.
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

// folderBytes returns the total size of the files in a folder. It counts a file with several
// links once, and returns 0 if there is no folder.
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
