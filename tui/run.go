package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/presets"
	"hatchery/tui/pages"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// Options configure the workbench.
type Options struct {
	Root     string         // folder of runs
	Open     string         // folder of the run to show first; empty: show the presets
	Launcher pages.Launcher // nil: runs can only be viewed

	In  io.Reader
	Out io.Writer
	Env []string // environment of the process; TERM, NO_COLOR, LANG and COLORFGBG are used

	ASCII bool   // draw with ASCII only; implied by a locale without UTF-8
	Theme string // "light", "dark", or empty: detect the terminal's background
	Plain bool   // write lines of text for screen readers; implied by TERM=dumb
}

const (
	// redrawEvery is the least time between two redraws of a run. It is long enough for a
	// slow connection, and nobody reads faster.
	redrawEvery = time.Second
	fps         = 20 // maximum of redraws a second; the first redraw waits for it too
)

// Run shows the workbench until the user quits or ctx is done. Runs continue.
func Run(ctx context.Context, o Options) error {
	switch o.Theme {
	case "", "light", "dark":
	default:
		return fmt.Errorf("theme %q: choose light or dark", o.Theme)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Plain || theme.Dumb(o.Env) {
		return runPlain(ctx, o)
	}
	a := newApp(ctx, o)
	p := tea.NewProgram(a, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Env),
		tea.WithColorProfile(theme.Profile(o.Out, o.Env)), tea.WithFPS(fps))
	_, err := p.Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil
	}
	if err == nil && a.problem != "" {
		_, err = fmt.Fprintln(o.Out, "last problem:\n"+printable.Text(a.problem))
	}
	if err == nil && a.farewell != "" {
		_, err = fmt.Fprintln(o.Out, printable.Line(a.farewell))
	}
	return err
}

func newApp(ctx context.Context, o Options) *app {
	a := &app{fixed: o.Theme != ""}
	a.themeOptions = theme.Options{Light: o.Theme == "light", ASCII: o.ASCII || theme.NeedsASCII(o.Env)}
	if o.Theme == "" {
		a.themeOptions.Light = theme.LightBackground(o.Env)
	}
	a.env = &pages.Env{
		Ctx: ctx, Theme: theme.New(a.themeOptions), Root: o.Root, Launcher: o.Launcher,
		Scanner: &watch.Scanner{Root: o.Root}, Speed: func(c *presets.Config) (pipeline.Speed, bool) { return pipeline.MachineSpeed(ctx, c, o.Root) },
		Now: time.Now, Every: redrawEvery,
	}
	if o.Open != "" {
		a.stack = []pages.Page{pages.NewRuns(a.env), pages.NewDashboard(a.env, o.Open)}
	} else {
		a.stack = []pages.Page{pages.NewPresets(a.env)}
	}
	return a
}
