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

// Changed is the error of a run that cannot be resumed because its configuration, its data
// or the weights that it depends on have changed since its stages were trained.
type Changed struct{ text string }

func (e *Changed) Error() string { return e.text }

// err returns nil if the stages can continue. Otherwise it returns an *Invalid with a
// *Changed that lists the reasons and the commands to type.
func (r *review) err() error {
	if len(r.refused) == 0 {
		return nil
	}
	config := printable.Word(filepath.Join(r.dir, "config.toml"))
	remedies := ""
	if r.data {
		remedies += "Restore the earlier images, or set data.root in " + config + " to a folder that has them.\n"
	}
	if r.recipe {
		remedies += "Restore the earlier values in " + config + ".\n"
	}
	if r.data || r.recipe {
		remedies += "Or start a new run with the current configuration and data:\n  hatchery run " + config + "\nOr remove"
	} else {
		remedies = "Remove"
	}
	return &Invalid{&Changed{fmt.Sprintf("%s cannot be resumed, because this has changed since its stages were trained:\n  %s\n%s these stages and those that depend on them, and train them again:\n  %s",
		r.dir, strings.Join(r.refused, "\n  "), remedies, trainAgain(r.config, r.dir, r.retrain))}}
}

// trainAgain returns the shell command that trains stages, and those that depend on them,
// again.
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

// dependents returns the given stages and those that depend on them, in the order of the
// experiment.
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

// explain adds the command to type to an error that wraps a *runs.Damaged. It returns other
// errors unchanged.
func explain(c *presets.Config, dir string, err error) error {
	var d *runs.Damaged
	if !errors.As(err, &d) {
		return err
	}
	done := printable.Word(filepath.Join(runs.StageDir(dir, d.Stage), "done"))
	resume := "hatchery resume " + printable.Word(dir)
	if filepath.Base(d.Path) == "done" {
		return fmt.Errorf("%w\nRemove it; the stage then resumes from its last checkpoint:\n  rm %s && %s", err, done, resume)
	}
	// Stages that have read the damaged weights can stay if they recorded a digest of
	// the weights, because training the stage again gives the same weights. Older
	// versions recorded the SHA-256 of the whole checkpoint, which will differ.
	var keep, retrain []string
	for _, s := range method.Stages(c) {
		if !slices.Contains(s.Needs, d.Stage) {
			continue
		}
		switch b, err := readStarted(dir, s); {
		case err != nil || b == nil:
		case b.id != nil:
			keep = append(keep, s.Name)
		default:
			retrain = append(retrain, s.Name)
		}
	}
	remove, rest := "rm -f "+done+" "+printable.Word(d.Path), ""
	if len(keep) > 0 {
		rest = fmt.Sprintf(". The stages that were trained with its weights (%s) can stay: on the same device the stage ends with the same weights again", joinWords(keep))
	}
	if len(retrain) > 0 {
		remove += " && rm -rf"
		for _, name := range dependents(c, retrain) {
			remove += " " + printable.Word(runs.StageDir(dir, name))
		}
		rest += fmt.Sprintf(". The stages that an older version of hatchery trained with its weights (%s) must be trained again, with the stages that depend on them", joinWords(retrain))
	}
	return fmt.Errorf("%w\nRemove the file and the stage's done file; the stage then resumes from its previous checkpoint, or starts again%s:\n  %s && %s", err, rest, remove, resume)
}
