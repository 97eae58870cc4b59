package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// Runs lists the runs.
func (a *App) Runs(ctx context.Context) error {
	scanner := watch.Scanner{Root: a.Root}
	all, err := scanner.Scan(time.Now())
	if err != nil {
		return err
	}
	if len(all) == 0 {
		none := "no runs in " + a.Root
		if _, err := os.Stat(a.Root); errors.Is(err, fs.ErrNotExist) {
			none = fmt.Sprintf("there is no folder %s: no run was started there yet, or it was moved or deleted", a.Root)
		}
		fmt.Fprintf(a.Out, "%s; start one with: hatchery run quickstart\n", none)
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTATE\tSTAGE\tTOP-1")
	for _, e := range all {
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
		live, _ := atSlurm(ctx, e.Dir, e.Live) // if Slurm cannot be asked, live is what the folder says
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable.Line(e.ID), printable.Line(live.String()), printable.Line(stage), printable.Line(strings.TrimSpace(top1)))
	}
	return w.Flush()
}

// brief shortens the error of something that cannot be read in dir, for a table. The
// whole error may have a line for each key of a configuration; `hatchery status RUN`
// shows it.
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
		return cut(first, briefly) + fmt.Sprintf(" (and %d more problems)", n-1)
	}
	if more {
		return cut(first, briefly) + " (and more)"
	}
	return cut(first, briefly)
}

// briefly is how many columns of an error a table shows.
const briefly = 100

func cut(text string, width int) string { return ansi.Truncate(printable.Line(text), width, "...") }

// statusText shows how far the run in dir is.
func (a *App) statusText(dir string, c *presets.Config, h health) error {
	state, live, places, where := h.state, h.live, h.places, h.where
	took := quantity.DurationTenths(state.Elapsed) + " so far"
	if state.Unrecorded() {
		took = "time not known"
	}
	fmt.Fprintf(a.Out, "%s: %s, %s done, %s", printable.Line(c.Name), printable.Line(live.String()), quantity.Percent(100*state.Progress()), took)
	if eta, ok := state.ETA(time.Now()); ok && live.Alive == runs.IsRunning {
		fmt.Fprintf(a.Out, ", ready in %s", quantity.DurationTenths(eta.Seconds()))
	}
	fmt.Fprintln(a.Out)
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tSTATE\tEPOCH\tLOSS\tTOP-1\tBEST\tELAPSED")
	for i := range state.Stages {
		st := &state.Stages[i]
		epoch, loss, top1, best := "", "", "", ""
		if st.Epochs > 0 {
			epoch = fmt.Sprintf("%d/%d", st.Epoch, st.Epochs)
		}
		if v, ok := st.Last[runs.Loss]; ok {
			loss = fmt.Sprintf("%.4f", v)
		}
		if v, ok := st.Last[runs.Top1]; ok {
			top1 = quantity.Accuracy(v)
		}
		if p, ok := st.Best(); ok {
			best = fmt.Sprintf("%s (%d)", quantity.Accuracy(p.Values[runs.Top1]), p.Epoch)
		}
		took := quantity.DurationTenths(st.Elapsed)
		if st.Unrecorded {
			best, took = quantity.Unknown, quantity.Unknown
			if v, ok := st.Results[runs.Top1]; ok {
				top1 = quantity.Accuracy(v)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable.Line(st.Name), printable.Line(cmp.Or(where[st.Name], string(st.Phase))), epoch, loss, top1, best, took)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if live.Alive == runs.IsRunning {
		for _, d := range state.Devices() {
			fmt.Fprintf(a.Out, "%s; trains %s\n", watch.DeviceLine(d), printable.Line(strings.Join(d.Stages, ", ")))
		}
	}
	said := map[string]bool{} // every process that goes on with the run warns of the same
	for _, n := range state.Warnings {
		line := about(runs.Event{Stage: n.Stage, Message: n.Message})
		if !said[line] {
			fmt.Fprintf(a.Out, "warning: %s\n", line)
			said[line] = true
		}
	}
	if state.Phase == runs.Failed {
		message := state.Message // of the status where the journal could not take the error
		if n := len(state.Errors); n > 0 {
			message = state.Errors[n-1].Message
		}
		fmt.Fprintf(a.Out, "error: %s\n", message)
		if strings.Contains(message, syscall.ENOSPC.Error()) || strings.Contains(message, syscall.EDQUOT.Error()) {
			fmt.Fprintf(a.Out, "free some space, then: hatchery resume %s\n", filepath.Base(dir))
		}
	} else if live.Alive == runs.IsFinished && live.Status.Phase == runs.Failed && places != nil {
		fmt.Fprintln(a.Out, live.Status.Message)
	}
	if state.Phase == runs.Finished {
		return table(a.Out, c, state)
	}
	return nil
}

// atSlurm adds what Slurm says of a run that is in its hands: it may have given
// it up. Where Slurm does not answer there is what the run's folder says.
func atSlurm(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, []slurm.Place) {
	if live.Alive != runs.IsAway && live.Alive != runs.IsRunning || !slurm.Has(dir) {
		return live, nil
	}
	places, err := slurm.Look(ctx, dir)
	if err != nil || live.Alive == runs.IsRunning || slurm.AnyActive(places) {
		return live, places
	}
	if state, err := runs.ReadState(dir); err == nil {
		live, _ = watch.GivenUp(state, live, places)
	}
	return live, places
}

// Presets lists the presets.
func (a *App) Presets() error {
	all, err := presets.List()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRESET\tTITLE\tPAPER")
	for _, p := range all {
		if p.Abstract {
			continue
		}
		source := p.Source
		if p.Missing != "" {
			source += "; not runnable yet, needs " + p.Missing
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, p.Title, source)
	}
	return w.Flush()
}

// ShowPreset writes a preset as its file has it, or with every value.
func (a *App) ShowPreset(preset string, sets []string, resolved bool) error {
	if !resolved && len(sets) == 0 {
		if source, err := presets.Source(preset); err == nil {
			_, err = fmt.Fprint(a.Out, source)
			return err
		}
	}
	c, err := presets.Load(preset, sets)
	if err != nil {
		return badInput{err}
	}
	_, err = a.Out.Write(c.TOML())
	return err
}
