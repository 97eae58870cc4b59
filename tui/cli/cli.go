// Package cli implements the commands of hatchery. Each is a [Command] with a file of its
// own and a field in the grammar of package main. Commands that show a run write text for
// people or JSON for scripts, both from the same events.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/presets"
)

// Exit codes.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitBadInput    = 2
	ExitInterrupted = 3 // `hatchery resume` continues the run
)

// App is shared by all commands. Out and Err may be given text from other sources, such
// as file names, so each should be a [printable.Writer].
type App struct {
	Out, Err io.Writer
	Root     string // folder of runs
	// CustomRoot reports that Root is not the folder that commands use without --runs-dir.
	CustomRoot bool
}

// ref returns the argument with which the user can name the run in dir.
func (a *App) ref(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	root, err := filepath.Abs(a.Root)
	if err == nil && !a.CustomRoot && filepath.Dir(dir) == root {
		return printable.Word(filepath.Base(dir))
	}
	return printable.Word(dir)
}

// badInput is an error in the input of the user.
type badInput struct{ error }

func (e badInput) Unwrap() error { return e.error }

// ExitCode returns the exit code for an error of a command.
func ExitCode(err error) int {
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

// findRun returns the folder of a run. The name is a path, an id under the root, or the
// beginning of an id if it is unique. The result is an absolute path whose last element is
// the run's id, however the run was named.
func (a *App) findRun(name string) (string, error) {
	if name == "" {
		return "", badInput{errors.New("the run's name is empty; `hatchery runs` lists the runs")}
	}
	root, err := filepath.Abs(a.Root)
	if err != nil {
		return "", err
	}
	if path, err := presets.Absolute(name, ""); err == nil && isRun(path) {
		return runFolder(path, root)
	}
	if dir := filepath.Join(root, name); filepath.Base(name) == name && isRun(dir) {
		return runFolder(dir, root)
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the folder of runs cannot be read: %w", err)
	}
	var found []string
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if strings.HasPrefix(e.Name(), name) && e.Name()[0] != '.' && isRun(dir) {
			found = append(found, dir)
		}
	}
	switch len(found) {
	case 1:
		return runFolder(found[0], root)
	case 0:
		return "", badInput{fmt.Errorf("no run %q in %s; `hatchery runs` lists the runs", name, a.Root)}
	}
	return "", badInput{fmt.Errorf("%d runs in %s begin with %q; give a longer part of the name", len(found), a.Root, name)}
}

// configFile is the name of a run's configuration in its folder.
const configFile = "config.toml"

// configOf loads the configuration of the run in dir.
func configOf(dir string) (*presets.Config, error) {
	return presets.Load(filepath.Join(dir, configFile), nil)
}

// isRun reports whether a folder has a run's configuration.
func isRun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, configFile))
	return err == nil
}

// runFolder returns the canonical path of a run's folder, with symbolic links resolved, so
// that its locks, its queue entry and its id do not depend on how the run was named. If
// root has a link with the run's name to the folder, runFolder returns the path of the link.
func runFolder(path, root string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return "", err
	}
	link := filepath.Join(root, filepath.Base(resolved))
	if target, err := filepath.EvalSymlinks(link); err == nil && target == resolved {
		return link, nil
	}
	return resolved, nil
}

// loadRun finds a run and loads its configuration. It prints the warnings of the
// configuration.
func (a *App) loadRun(name string) (dir string, c *presets.Config, err error) {
	if dir, err = a.findRun(name); err != nil {
		return "", nil, err
	}
	if c, err = configOf(dir); err != nil {
		return "", nil, badInput{err}
	}
	for _, w := range c.Warnings() {
		fmt.Fprintln(a.Err, "warning:", w)
	}
	return dir, c, nil
}

// terminalWidth returns the width of w in columns, or 0 if w is not a terminal.
func terminalWidth(w io.Writer) int {
	f, ok := printable.Raw(w).(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}
