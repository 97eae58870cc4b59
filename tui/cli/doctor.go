package cli

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"text/tabwriter"

	"hatchery/datasets"
	"hatchery/engine/cpu/isa"
	"hatchery/engine/cuda/inventory"
	"hatchery/engine/limits"
	"hatchery/engine/quantity"
)

// Doctor says what this machine has and, where something is missing, how to mend it.
type Doctor struct{}

func (*Doctor) Effect() Effect { return Looks }

func (*Doctor) Run(ctx context.Context, a *App) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	var row row = func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	row("system", "%s/%s, %s", runtime.GOOS, runtime.GOARCH, runtime.Version())
	row("cores", "%d%s", runtime.GOMAXPROCS(0), quota())
	switch now, best := isa.Current(), isa.Best(); {
	case now != best:
		row("instructions", "%v, lowered from %v by %s", now, best, isa.Env)
	case best == isa.Go:
		row("instructions", "plain Go: no AVX2 with FMA on this processor, so training is slow")
	default:
		row("instructions", "%v", best)
	}
	memory(row)
	row("free disk", "%s for runs in %s", known(limits.Disk(a.Root)), a.Root)
	gpus(row, inventory.Look())
	for _, name := range datasets.Names() {
		if name == datasets.Folder {
			continue // wherever the user has one
		}
		err := datasets.Check(ctx, datasets.Source{Name: name})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			row("data "+name, "missing: %v", err)
		} else {
			row("data "+name, "found")
		}
	}
	return w.Flush()
}

// quota says what limits the processor time, "" if nothing does.
func quota() string {
	switch p, ok := limits.Quota(); {
	case os.Getenv("GOMAXPROCS") != "":
		return ", set by GOMAXPROCS"
	case ok && p.Cores < float64(runtime.NumCPU()):
		return fmt.Sprintf(", for the time of %.3g: %s", p.Cores, p.From)
	}
	return ""
}

// memory adds rows for the memory that a run can have, and what limits it.
func memory(row row) {
	all := limits.Memories()
	if len(all) == 0 {
		row("memory", "unknown")
		return
	}
	what := "memory"
	for _, m := range all { // tightest first
		row(what, "%s for a run: %s", quantity.Bytes(m.Bytes), m.From)
		what = ""
	}
	if goes, set := limits.GoMemory(); set {
		row("GOMEMLIMIT", "%s, from the environment", quantity.Bytes(goes))
	} else if goes > 0 {
		row("GOMEMLIMIT", "%s, set by hatchery: all but %d %% of the tightest", quantity.Bytes(goes), limits.Reserved)
	}
}

// row writes one line: what it is about, and what was found.
type row func(what, format string, args ...any)

// gpus writes what there is for training on GPUs.
func gpus(row row, r inventory.Report) {
	if r.Driver.Version == "" {
		row("GPU", "none: %v", r.Driver.Err)
		if r.Driver.Path == "" && r.CuBLAS.Version == "" {
			return // nothing of NVIDIA's is here: no need to go on about it
		}
	} else {
		row("GPU driver", "for CUDA %s, %s", r.Driver.Version, r.Driver.Path)
		if r.Driver.Err != nil {
			row("GPU", "none: %v", r.Driver.Err)
		}
	}
	for i, c := range r.Cards {
		name := fmt.Sprintf("GPU %d", i)
		if c.Err != nil {
			row(name, "%s cannot be used: %v", c.Name, c.Err)
			continue
		}
		row(name, "%s, compute capability %d.%d, %d multiprocessors, memory %s, L2 %s, PCI %s", c.Name, c.Major, c.Minor, c.Multiprocessors,
			quantity.Bytes(c.Memory), quantity.Bytes(c.L2), c.PCI)
		if c.Watched {
			row("", "%s in use, %d %% busy, %d °C, %.0f W", quantity.Bytes(c.Used), c.Busy, c.Temperature, c.Power)
		}
	}
	if r.CuBLAS.Err != nil {
		row("cuBLAS", "missing: %v", r.CuBLAS.Err)
	} else if r.CuBLAS.Version != "" {
		row("cuBLAS", "%s, %s", r.CuBLAS.Version, r.CuBLAS.Path)
	}
	switch {
	case r.NVML.Err != nil:
		row("NVML", "missing, so use and temperature of GPUs are not shown: %v", r.NVML.Err)
	case r.NVML.Version != "":
		row("NVML", "for NVIDIA driver %s, %s", r.NVML.Version, r.NVML.Path)
	}
}

// known writes a size that may not be known.
func known(n int64) string {
	if n == 0 {
		return "unknown"
	}
	return quantity.Bytes(n)
}
