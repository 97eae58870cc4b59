package pages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/engine/atomicfile"
	"hatchery/engine/pipeline"
	"hatchery/presets"
)

// experiment is a preset with changes.
type experiment struct {
	base string // name of a preset, or path of a file
	sets map[string]string
}

// flags returns the changes in the form for presets.Load.
func (x experiment) flags() []string {
	var all []string
	for key, value := range x.sets {
		all = append(all, key+"="+value)
	}
	slices.Sort(all)
	return all
}

func (x experiment) load() (*presets.Config, error) { return presets.Load(x.base, x.flags()) }

// with returns x with one more change.
func (x experiment) with(key, value string) experiment {
	sets := map[string]string{key: value}
	for k, v := range x.sets {
		if k != key {
			sets[k] = v
		}
	}
	return experiment{x.base, sets}
}

// without returns x without the change of a key.
func (x experiment) without(key string) experiment {
	sets := map[string]string{}
	for k, v := range x.sets {
		if k != key {
			sets[k] = v
		}
	}
	return experiment{x.base, sets}
}

// splitProblems splits the error of an experiment into its problems.
func splitProblems(err error) presets.Problems {
	if err == nil {
		return nil
	}
	if ps, ok := errors.AsType[presets.Problems](err); ok {
		ps = slices.Clone(ps)
		for i := range ps {
			if strings.HasPrefix(ps[i].Where, "--set ") {
				ps[i].Where = "" // the user made the change in the editor, not with --set
			}
		}
		return ps
	}
	var all presets.Problems
	for line := range strings.SplitSeq(err.Error(), "\n") {
		all = append(all, presets.Problem{Reason: line})
	}
	return all
}

// validation is the result of validating an experiment.
type validation struct {
	config   *presets.Config // nil if it cannot be loaded
	problems presets.Problems
}

// validate checks everything that does not need other files.
func (x experiment) validate() validation {
	c, err := x.load()
	if err != nil {
		return validation{problems: splitProblems(err)}
	}
	return validation{c, splitProblems(pipeline.Validate(c))}
}

// costs is the plan of an experiment, and why the experiment cannot run on this machine.
type costs struct {
	stages   []pipeline.Estimate
	err      error
	problems presets.Problems
}

// estimate plans an experiment. Unless check is nil, it calls check to compare the plan
// with this machine.
func estimate(ctx context.Context, c *presets.Config, check func([]pipeline.Estimate) error) costs {
	stages, err := pipeline.Plan(ctx, c, pipeline.TrainImages(c))
	k := costs{stages: stages, err: err}
	switch {
	case err != nil:
		k.problems = splitProblems(err)
	case check != nil:
		k.problems = splitProblems(check(stages))
	}
	return k
}

// save writes the experiment to a file that extends its base. It writes atomically, never
// overwrites a file, and removes the file again if it cannot be loaded.
func (x experiment) save(path, title string) error {
	if strings.HasPrefix(path, "~") {
		var err error
		if path, err = presets.Absolute(path, ""); err != nil {
			return err
		}
	}
	if filepath.Ext(path) != ".toml" {
		path += ".toml"
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s already exists: choose another name", path)
	}
	base := x.base
	if strings.ContainsRune(base, filepath.Separator) || strings.HasSuffix(base, ".toml") {
		abs, err := filepath.Abs(base)
		if err != nil {
			return err
		}
		base = abs
	}
	c, err := x.load()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "title   = %s\nextends = %s\n\n", presets.Quote(title), presets.Quote(base))
	for _, set := range x.flags() {
		key, value, _ := strings.Cut(set, "=")
		if s, ok := presets.Lookup(key); ok && s.Path { // the path is relative to the working directory, not to the file
			value = s.TOML(c)
		}
		fmt.Fprintf(&b, "%s = %s\n", key, value)
	}
	if err := atomicfile.Write(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	if _, err := presets.Load(path, nil); err != nil {
		os.Remove(path)
		return fmt.Errorf("not saved: %s could not be loaded: %w", path, err)
	}
	return nil
}
