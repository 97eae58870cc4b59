package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hatchery/datasets"
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
	estimates, err := Plan(c, TrainImages(c))
	if err != nil {
		return &Invalid{err}
	}
	return checkMachine(estimates, root)
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

// keptCheckpoints of a stage are on disk at once: the last two, the best, and
// the one being written.
const keptCheckpoints = 4

// Machine says how much memory is free and how much disk in a folder, bytes; 0
// where that cannot be found out.
func Machine(root string) (memory, disk int64) { return availableMemory(), availableDisk(root) }

func checkMachine(estimates []Estimate, root string) error {
	var problems []string
	memory, disk := Machine(root)
	var written int64
	for _, e := range estimates {
		// A GPU does with what it has, or the estimate is an error.
		if e.Device == "cpu" && memory > 0 && e.Memory() > memory {
			problems = append(problems, fmt.Sprintf("%s needs %s of memory and %s are free: set %s.micro_batch to a smaller divisor of its batch",
				e.Name, Bytes(e.Memory()), Bytes(memory), tables[e.Kind]))
		}
		written += keptCheckpoints * (e.Peak.Optimizer + e.Peak.Gradients)
	}
	if disk > 0 && written > disk {
		problems = append(problems, fmt.Sprintf("the checkpoints need up to %s and %s are free in %s", Bytes(written), Bytes(disk), root))
	}
	if len(problems) == 0 {
		return nil
	}
	return &Invalid{fmt.Errorf("%s", strings.Join(problems, "\n"))}
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
