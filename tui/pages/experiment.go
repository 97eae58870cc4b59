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
	base string // a preset's name or a file
	sets map[string]string
}

// flags are the changes as presets.Load takes them.
func (x experiment) flags() []string {
	var all []string
	for key, value := range x.sets {
		all = append(all, key+"="+value)
	}
	slices.Sort(all)
	return all
}

func (x experiment) load() (*presets.Config, error) { return presets.Load(x.base, x.flags()) }

// with is x with one more change.
func (x experiment) with(key, value string) experiment {
	sets := map[string]string{key: value}
	for k, v := range x.sets {
		if k != key {
			sets[k] = v
		}
	}
	return experiment{x.base, sets}
}

// without is x with one change less.
func (x experiment) without(key string) experiment {
	sets := map[string]string{}
	for k, v := range x.sets {
		if k != key {
			sets[k] = v
		}
	}
	return experiment{x.base, sets}
}

// problems splits what is wrong with an experiment.
func problems(err error) presets.Problems {
	if err == nil {
		return nil
	}
	var ps presets.Problems
	if errors.As(err, &ps) {
		ps = slices.Clone(ps)
		for i := range ps {
			if strings.HasPrefix(ps[i].Where, "--set ") {
				ps[i].Where = "" // that is how changes are laid over a preset
			}
		}
		return ps
	}
	var all presets.Problems
	for _, line := range strings.Split(err.Error(), "\n") {
		all = append(all, presets.Problem{Reason: line})
	}
	return all
}

// verdict is what is known of an experiment.
type verdict struct {
	config *presets.Config // nil if it cannot even be read
	wrong  presets.Problems
}

// judge checks what needs no files beside the experiment's own.
func (x experiment) judge() verdict {
	c, err := x.load()
	if err != nil {
		return verdict{wrong: problems(err)}
	}
	return verdict{c, problems(pipeline.Validate(c))}
}

// costs is what an experiment takes, and what of the machine speaks against it.
type costs struct {
	stages []pipeline.Estimate
	err    error
	wrong  presets.Problems
}

// estimate plans an experiment, and has check compare the plan with this machine, unless
// check is nil.
func estimate(ctx context.Context, c *presets.Config, check func([]pipeline.Estimate) error) costs {
	stages, err := pipeline.Plan(ctx, c, pipeline.TrainImages(c))
	k := costs{stages: stages, err: err}
	switch {
	case err != nil:
		k.wrong = problems(err)
	case check != nil:
		k.wrong = problems(check(stages))
	}
	return k
}

// save writes the experiment as a file that extends its base. The file is
// there whole or not at all, it is never written over another, and it is read
// back before it counts as saved.
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
		return fmt.Errorf("%s is there already: choose another name", path)
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
		if s, ok := presets.Lookup(key); ok && s.Path { // it is relative to this folder, not to the file's
			value = s.TOML(c)
		}
		fmt.Fprintf(&b, "%s = %s\n", key, value)
	}
	if err := atomicfile.Write(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	if _, err := presets.Load(path, nil); err != nil {
		os.Remove(path)
		return fmt.Errorf("%s would not be readable: %w", path, err)
	}
	return nil
}
