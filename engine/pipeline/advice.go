package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/engine/method"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Changed is the error of a run that cannot go on because its configuration, its
// data or the weights that it builds on have changed since its stages were trained.
type Changed struct{ text string }

func (e *Changed) Error() string { return e.text }

// err returns an *Invalid of a *Changed that says why the stages cannot continue and what to
// type, or nil if they can.
func (r *review) err() error {
	if len(r.refused) == 0 {
		return nil
	}
	config := printable.Word(filepath.Join(r.dir, "config.toml"))
	ways := ""
	if r.data {
		ways += "Restore the earlier images, or set data.root in " + config + " to a folder that has them.\n"
	}
	if r.recipe {
		ways += "Restore the earlier values in " + config + ".\n"
	}
	if r.data || r.recipe {
		ways += "Or start a new run with the configuration and the data as they are now:\n  hatchery run " + config + "\nOr remove"
	} else {
		ways = "Remove"
	}
	return &Invalid{&Changed{fmt.Sprintf("%s cannot be resumed, because this has changed since its stages were trained:\n  %s\n%s these stages and those that depend on them, and train them again:\n  %s",
		r.dir, strings.Join(r.refused, "\n  "), ways, trainAgain(r.config, r.dir, r.again))}}
}

// trainAgain returns the shell command that trains stages again, with those that
// depend on them.
func trainAgain(c *presets.Config, dir string, names []string) string {
	remove := "rm -r"
	for _, name := range dependents(c, names) {
		if folder := runs.StageDir(dir, name); exists(folder) {
			remove += " " + printable.Word(folder)
		}
	}
	return remove + " && hatchery resume " + printable.Word(dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// dependents lists the given stages and those that depend on them, in the order
// of the experiment.
func dependents(c *presets.Config, names []string) []string {
	var all []string
	for _, s := range method.Stages(c) {
		depends := func(need string) bool { return slices.Contains(all, need) }
		if slices.Contains(names, s.Name) || slices.ContainsFunc(s.Needs, depends) || slices.ContainsFunc(s.After, depends) {
			all = append(all, s.Name)
		}
	}
	return all
}

// explain adds to a *runs.Damaged in err what to type. Other errors stay as they
// are.
func explain(c *presets.Config, dir string, err error) error {
	var d *runs.Damaged
	if !errors.As(err, &d) {
		return err
	}
	done := printable.Word(filepath.Join(runs.StageDir(dir, d.Stage), "done"))
	resume := "hatchery resume " + printable.Word(dir)
	if filepath.Base(d.Path) == "done" {
		return fmt.Errorf("%w\nRemove it; the stage then goes on from its last checkpoint:\n  rm %s && %s", err, done, resume)
	}
	// Stages that read the damaged weights: those that will recognise the same
	// weights when the stage is done again, and those of older versions, which
	// recorded the SHA-256 of the whole checkpoint.
	var can, cannot []string
	for _, s := range method.Stages(c) {
		if !slices.Contains(s.Needs, d.Stage) {
			continue
		}
		switch b, err := found(dir, s); {
		case err != nil || b == nil:
		case b.id != nil:
			can = append(can, s.Name)
		default:
			cannot = append(cannot, s.Name)
		}
	}
	remove, rest := "rm -f "+done+" "+printable.Word(d.Path), ""
	if len(can) > 0 {
		rest = fmt.Sprintf(". What was trained with its weights (%s) can stay: on the same device the stage ends with the same weights again, and they are accepted", listed(can))
	}
	if len(cannot) > 0 {
		remove += " && rm -rf"
		for _, name := range dependents(c, cannot) {
			remove += " " + printable.Word(runs.StageDir(dir, name))
		}
		rest += fmt.Sprintf(". What an older version of hatchery trained with its weights (%s) must be trained again, with the stages that depend on it", listed(cannot))
	}
	return fmt.Errorf("%w\nRemove the file and the stage's done file; the stage then goes on from its previous checkpoint, or from its beginning%s:\n  %s && %s", err, rest, remove, resume)
}
