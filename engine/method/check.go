package method

import (
	"fmt"
	"slices"

	"hatchery/presets"
)

// others are methods that the paper compares with and that are not built.
var others = []string{"infopro", "dgl"}

// checker is a method that has requirements of its own.
type checker interface {
	check(c *presets.Config) presets.Problems
}

// Check returns what is wrong with the methods of an experiment.
func Check(c *presets.Config) (problems presets.Problems) {
	fail := func(reason, hint string) {
		problems = append(problems, c.Problem("run.methods", reason, hint))
	}
	for i, name := range c.Run.Methods {
		at := slices.Index(Names(), name)
		switch {
		case slices.Contains(others, name):
			fail(name+" is not built yet; the presets have the paper's numbers of it to compare with", presets.Suggest("", Names()))
			continue
		case at < 0:
			fail(fmt.Sprintf("unknown method %q", name), presets.Suggest(name, Names()))
			continue
		case slices.Contains(c.Run.Methods[:i], name):
			fail(fmt.Sprintf("names %q twice", name), "")
			continue
		}
		if m, ok := all[at].(checker); ok {
			problems = append(problems, m.check(c)...)
		}
	}
	return problems
}

// Combinations returns choices for run.methods: each method beside the baseline, each
// alone, and all.
func Combinations() [][]string {
	names := Names()
	last := len(names) - 1
	var choices [][]string
	for _, name := range names[:last] {
		choices = append(choices, []string{name, names[last]})
	}
	for _, name := range names {
		choices = append(choices, []string{name})
	}
	return append(choices, names)
}
