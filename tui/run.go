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

// Options say what the workbench works on and how it looks.
type Options struct {
	Root     string         // folder of runs
	Open     string         // folder of a run to show at first; empty: the presets
	Launcher pages.Launcher // nil: runs can only be looked at

	In  io.Reader
	Out io.Writer
	Env []string // of the process: TERM, NO_COLOR, LANG, COLORFGBG

	ASCII bool   // nothing but ASCII; also where the locale has no UTF-8
	Theme string // "light", "dark", or empty: the terminal's, as far as it says
	Plain bool   // lines of text for screen readers instead of a screen; also where TERM is dumb
}

const (
	// every is the least time between two redraws of a run: a connection with
	// little bandwidth carries it, and nobody reads faster.
	every = time.Second
	fps   = 20 // most redraws a second, whatever happens; the first one waits for it too
)

// Run shows the workbench until the user leaves it or ctx is done. Runs go on.
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
		_, err = fmt.Fprintln(o.Out, "the last problem:\n"+printable.Text(a.problem))
	}
	if err == nil && a.word != "" {
		_, err = fmt.Fprintln(o.Out, printable.Line(a.word))
	}
	return err
}

func newApp(ctx context.Context, o Options) *app {
	a := &app{fixed: o.Theme != ""}
	a.look = theme.Options{Light: o.Theme == "light", ASCII: o.ASCII || theme.NeedsASCII(o.Env)}
	if o.Theme == "" {
		a.look.Light = theme.LightBackground(o.Env)
	}
	a.env = &pages.Env{
		Ctx: ctx, Theme: theme.New(a.look), Root: o.Root, Launcher: o.Launcher,
		Scanner: &watch.Scanner{Root: o.Root}, Speed: func(c *presets.Config) (pipeline.Speed, bool) { return pipeline.MachineSpeed(ctx, c, o.Root) },
		Now: time.Now, Every: every,
	}
	if o.Open != "" {
		a.stack = []pages.Page{pages.NewRuns(a.env), pages.NewDashboard(a.env, o.Open)}
	} else {
		a.stack = []pages.Page{pages.NewPresets(a.env)}
	}
	return a
}
