// Package cli is hatchery without a terminal interface: one file a command,
// text for people or JSON events for scripts, both from the same events of a
// run.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/term"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Exit codes.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitBadInput    = 2
	ExitInterrupted = 3 // and `hatchery resume` goes on
)

// App is what commands share.
type App struct {
	Out, Err io.Writer
	Root     string // folder of runs
}

// badInput is an error of what the user gave.
type badInput struct{ error }

func (e badInput) Unwrap() error { return e.error }

// Code is the exit code for an error of a command.
func Code(err error) int {
	var bad badInput
	var invalid *pipeline.Invalid
	var problems presets.Problems
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, pipeline.ErrInterrupted), errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, launch.ErrNotRunning), errors.Is(err, launch.ErrOthersQueue), errors.As(err, &bad), errors.As(err, &invalid), errors.As(err, &problems):
		return ExitBadInput
	}
	return ExitFailed
}

// findRun turns what a user calls a run into its folder, as a clean absolute path: a
// path, an id under the root, or the beginning of one if only one run has it.
func (a *App) findRun(name string) (string, error) {
	if _, err := runs.ReadConfig(name); err == nil {
		return filepath.Abs(name)
	}
	if dir := filepath.Join(a.Root, name); filepath.Base(name) == name {
		if _, err := runs.ReadConfig(dir); err == nil {
			return filepath.Abs(dir)
		}
	}
	matches, _ := filepath.Glob(filepath.Join(a.Root, name+"*", "config.toml"))
	switch len(matches) {
	case 1:
		return filepath.Abs(filepath.Dir(matches[0]))
	case 0:
		return "", badInput{fmt.Errorf("there is no run %q in %s; `hatchery runs` lists them", name, a.Root)}
	}
	return "", badInput{fmt.Errorf("%d runs in %s begin with %q; give more of the name", len(matches), a.Root, name)}
}

// loadRun loads the configuration of a run.
func (a *App) loadRun(name string) (dir string, c *presets.Config, err error) {
	if dir, err = a.findRun(name); err != nil {
		return "", nil, err
	}
	c, err = presets.Load(filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		return "", nil, badInput{err}
	}
	return dir, c, nil
}

// terminalWidth is the width of w in columns, 0 if it is not a terminal.
func terminalWidth(w io.Writer) int {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}
