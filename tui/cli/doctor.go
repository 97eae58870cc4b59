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

// Doctor shows what this machine has and, if something is missing, what to do about it.
type Doctor struct{}

func (*Doctor) Effect() Effect { return Reads }

func (*Doctor) Run(ctx context.Context, a *App) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	var row row = func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("system", "%s/%s, %s", runtime.GOOS, runtime.GOARCH, runtime.Version())
	row("cores", "%d%s", runtime.GOMAXPROCS(0), quota())
	switch now, best := isa.Current(), isa.Best(); {
	case now != best:
		row("instructions", "%v, lowered from %v by %s", now, best, isa.Env)
	case best == isa.Go:
		row("instructions", "plain Go: this CPU has no AVX2 with FMA, so training is slow")
	default:
		row("instructions", "%v", best)
	}
	memory(row)
	row("free disk", "%s for runs in %s", sizeText(limits.Disk(a.Root)), a.Root)
	gpus(row, inventory.Look())
	for _, name := range datasets.Names() {
		if name == datasets.Folder {
			continue // it can be anywhere
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

// quota returns a text about what limits the CPU time, or "" if nothing does.
func quota() string {
	switch p, ok := limits.Quota(); {
	case os.Getenv("GOMAXPROCS") != "":
		return ", set by GOMAXPROCS"
	case ok && p.Cores < float64(runtime.NumCPU()):
		return fmt.Sprintf(", limited to the time of %.3g: %s", p.Cores, p.From)
	}
	return ""
}

// memory writes rows on the memory available to a run and what limits it.
func memory(row row) {
	all := limits.Memories()
	if len(all) == 0 {
		row("memory", "unknown")
		return
	}
	name := "memory"
	for _, m := range all { // the tightest limit first
		row(name, "%s for a run: %s", quantity.Bytes(m.Bytes), m.From)
		name = ""
	}
	if n, set := limits.GoMemory(); set {
		row("GOMEMLIMIT", "%s, from the environment", quantity.Bytes(n))
	} else if n > 0 {
		row("GOMEMLIMIT", "%s, set by hatchery: the tightest limit less %d %%", quantity.Bytes(n), limits.Reserved)
	}
}

// row writes one line: a name, and what was found.
type row func(name, format string, args ...any)

// gpus writes rows on the GPUs, their driver and libraries.
func gpus(row row, r inventory.Report) {
	if r.Driver.Version == "" {
		row("GPU", "none: %v", r.Driver.Err)
		if r.Driver.Path == "" && r.CuBLAS.Version == "" {
			return // without any NVIDIA software, more rows would not help
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
		row("NVML", "missing, so the load and temperature of GPUs are not shown: %v", r.NVML.Err)
	case r.NVML.Version != "":
		row("NVML", "for NVIDIA driver %s, %s", r.NVML.Version, r.NVML.Path)
	}
}

// sizeText formats a size in bytes. 0 means unknown.
func sizeText(n int64) string {
	if n == 0 {
		return "unknown"
	}
	return quantity.Bytes(n)
}
