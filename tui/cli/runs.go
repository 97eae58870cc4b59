package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// Runs lists the runs.
type Runs struct{}

func (*Runs) Effect() Effect { return Reads }

func (*Runs) Run(ctx context.Context, a *App) error {
	scanner := watch.Scanner{Root: a.Root}
	all, err := scanner.Scan(ctx, time.Now())
	if err != nil {
		return err
	}
	if len(all) == 0 {
		none := "no runs in " + a.Root
		if _, err := os.Stat(a.Root); errors.Is(err, fs.ErrNotExist) {
			none = fmt.Sprintf("there is no folder %s: no run was started there yet, or the folder was moved or deleted", a.Root)
		}
		fmt.Fprintf(a.Out, "%s; start one with: hatchery run quickstart\n", none)
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTATE\tSTAGE\tTOP-1")
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Err != nil {
			fmt.Fprintf(w, "%s\tbroken\t%s\t\n", printable.Line(e.ID), brief(e.Err, e.Dir))
			continue
		}
		stage, top1 := e.Stage, ""
		if e.Epoch > 0 {
			stage += fmt.Sprintf(", epoch %d", e.Epoch)
		}
		if len(e.Results) > 0 {
			stage = ""
		}
		if v, ok := e.Last[runs.Top1]; ok && len(e.Results) == 0 {
			top1 = quantity.Accuracy(v)
		}
		if e.Config != nil {
			for _, m := range e.Config.Run.Methods {
				if v, ok := e.Results[m][runs.Top1]; ok {
					top1 += fmt.Sprintf("%s %s  ", m, quantity.Accuracy(v))
				}
			}
		}
		live, _ := askSlurm(ctx, e.Dir, e.Live)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable.Line(e.ID), printable.Line(live.String()), printable.Line(stage), printable.Line(strings.TrimSpace(top1)))
	}
	return w.Flush()
}

// brief shortens the error of reading a file in dir, for a table. The complete error may
// have a line for each key of a configuration; `hatchery status RUN` shows it.
func brief(err error, dir string) string {
	text := err.Error()
	var problems presets.Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		text = problems[0].String()
	}
	if dir != "" {
		text = strings.ReplaceAll(text, dir+string(filepath.Separator), "")
	}
	first, _, more := strings.Cut(text, "\n")
	if n := len(problems); n > 1 {
		return cut(first, briefWidth) + fmt.Sprintf(" (and %d more problems)", n-1)
	}
	if more {
		return cut(first, briefWidth) + " (and more)"
	}
	return cut(first, briefWidth)
}

// briefWidth is the width of an error in a table.
const briefWidth = 100

func cut(text string, width int) string { return ansi.Truncate(printable.Line(text), width, "...") }
