package method

import (
	"fmt"
	"slices"

	"hatchery/presets"
)

// unsupported lists methods of the paper's comparisons that hatchery does not implement.
var unsupported = []string{"infopro", "dgl"}

// checker is a method with its own requirements.
type checker interface {
	check(c *presets.Config) presets.Problems
}

// Check returns the problems with the methods of an experiment.
func Check(c *presets.Config) (problems presets.Problems) {
	fail := func(reason, hint string) {
		problems = append(problems, c.Problem("run.methods", reason, hint))
	}
	for i, name := range c.Run.Methods {
		at := slices.Index(Names(), name)
		switch {
		case slices.Contains(unsupported, name):
			fail(name+" is not built yet; the presets have the paper's results of it for comparison", presets.Suggest("", Names()))
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

// Combinations returns choices for run.methods: each method with the baseline, each method
// alone, and all methods.
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
