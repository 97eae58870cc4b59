package presets

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Validate checks each value by itself, and then values that depend on one another. The
// error is a [Problems]. With the zero DataInfo, Validate skips the checks that depend on
// the data, so that a preset can be planned without its data set. It does not check the
// names of methods and data sets, which other packages know.
//
// used names the recipe tables of the stages that will run (see [RecipeTables]); if it is
// empty, all will. Settings that concern only other stages (see [Setting.Stages]) must be
// valid by themselves, since methods may be added later, but need not fit the data or one
// another.
func (c *Config) Validate(data DataInfo, used ...string) error {
	recipes := c.recipes()
	if len(used) == 0 {
		for _, g := range recipes {
			used = append(used, g.table)
		}
	}
	v := validator{c: c, used: used, wrong: map[string]bool{}}
	v.checkValues()
	v.checkPaper()
	v.checkModel()
	v.checkAugment()
	v.checkRun()
	v.checkLaunch()
	for _, g := range recipes {
		v.checkRecipe(g.table, g.recipe)
	}
	v.checkHighRes()
	v.checkData(data)
	return v.problems.err()
}

// Runnable returns an error if this version cannot run the configuration, which may still
// be valid and possible to plan: parts of its recipe are not built, or it has no method to
// run. Package datasets reports missing data sets.
func (c *Config) Runnable() error {
	v := validator{c: c}
	if len(c.Run.Methods) == 0 {
		v.add(c.Problem("run.methods", "no method to run: this preset records a model and the paper's numbers",
			fmt.Sprintf("plan works; to train, set run.methods = %s and read the preset's notes", lookup("run.methods").Default())))
	}
	for _, feature := range c.Missing {
		v.add(c.Problem("missing", "needs "+feature+", which is not built yet", "plan works; to train without it, set missing = []"))
	}
	return v.problems.err()
}

// Problem returns a problem with a key's value and position. reason is what is wrong with
// the value, and hint, which may be empty, what to do.
func (c *Config) Problem(key, reason, hint string) Problem {
	p := Problem{Key: key, Reason: reason, Hint: hint}
	if at, ok := c.origins[key]; ok {
		p.Where, p.Key = at.where, at.key
	}
	if s := lookup(key); s != nil && s.index != nil && key != "paper" { // its value is a page long
		p.Value = shorten(literal(reflect.ValueOf(c).Elem().FieldByIndex(s.index)))
	}
	return p
}

// validator collects problems.
type validator struct {
	c        *Config
	used     []string        // tables of the recipes of the stages that will run
	wrong    map[string]bool // keys whose values are invalid by themselves
	problems Problems
}

// add reports a problem. A wrong value in [train] is one problem, not one for each stage.
func (v *validator) add(p Problem) {
	if !slices.Contains(v.problems, p) {
		v.problems = append(v.problems, p)
	}
}

// checkValues checks each value by itself.
func (v *validator) checkValues() {
	c := reflect.ValueOf(v.c).Elem()
	recipes := v.c.recipes()
	for _, s := range settings {
		off := s.Shared != "" && !slices.ContainsFunc(recipes, func(g group) bool { return g.table == s.Table })
		if s.index == nil || off { // nobody checks the recipe of a stage that is off
			continue
		}
		written := s // the setting of the key that the user wrote, perhaps in [train]
		if at, ok := v.c.origins[s.Key]; ok {
			written = *lookup(at.key)
		}
		if reason, hint := written.violation(c.FieldByIndex(s.index).Interface()); reason != "" {
			v.wrong[s.Key] = true
			v.add(v.c.Problem(s.Key, reason, hint))
		}
	}
}

// broken reports whether a key with this prefix has a value that is invalid by itself.
func (v *validator) broken(prefix string) bool {
	for key := range v.wrong {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// fail reports a key whose value does not fit the data or the values of the keys in with.
// It does nothing if the key concerns no stage that will run, or if one of these values
// is invalid by itself.
func (v *validator) fail(key, reason, hint string, with ...string) {
	s := lookup(key)
	runs := s == nil || s.Stages == nil || slices.ContainsFunc(s.Stages, func(table string) bool { return slices.Contains(v.used, table) })
	reported := slices.ContainsFunc(append(with, key), func(key string) bool { return v.wrong[key] })
	if runs && !reported {
		v.add(v.c.Problem(key, reason, hint))
	}
}
