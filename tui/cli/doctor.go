package cli

import (
	"context"
	"fmt"
	"runtime"
	"text/tabwriter"

	"hatchery/datasets"
	"hatchery/engine/cpu/isa"
	"hatchery/engine/pipeline"
)

// Doctor says what this machine has and, where something is missing, how to
// mend it.
func (a *App) Doctor(ctx context.Context) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	row("system", "%s/%s, %s", runtime.GOOS, runtime.GOARCH, runtime.Version())
	row("cores", "%d", runtime.GOMAXPROCS(0))
	switch now, best := isa.Current(), isa.Best(); {
	case now != best:
		row("instructions", "%v, lowered from %v by %s", now, best, isa.Env)
	case best == isa.Go:
		row("instructions", "plain Go: no AVX2 with FMA on this processor, so training is slow")
	default:
		row("instructions", "%v", best)
	}
	memory, disk := pipeline.Machine(a.Root)
	row("free memory", "%s", known(memory))
	row("free disk", "%s for runs in %s", known(disk), a.Root)
	for _, name := range datasets.Names() {
		if name == datasets.Folder {
			continue // wherever the user has one
		}
		if err := datasets.Check(ctx, datasets.Source{Name: name}); err != nil {
			row("data "+name, "missing: %v", err)
		} else {
			row("data "+name, "found")
		}
	}
	return w.Flush()
}

// known writes a size that may not be known.
func known(n int64) string {
	if n == 0 {
		return "unknown"
	}
	return pipeline.Bytes(n)
}
