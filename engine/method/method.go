// Package method describes the ways of training a target model: Deep Model
// Assembling (Algorithm 1 of the paper) and what it is compared with.
//
// A method is one file here and one line in the list of methods. It says which
// stages an experiment consists of, and of each stage everything that the rest of
// the program needs to know: which network it trains with which recipe and which
// random numbers, which weights it reads, which methods it is part of. The
// pipeline executes stages, schedulers place them and the workbench shows them
// without knowing the method.
package method

import (
	"slices"

	"hatchery/presets"
)

// Method is a way of training the target model.
type Method interface {
	// Name is the method's name in run.methods and in the table of results.
	Name() string

	// Stages lists the stages that the method consists of, each after the ones
	// it needs. before holds the stages of the methods that run.methods names
	// before this one.
	//
	// Methods share a stage by giving it the same name: see [Stages].
	Stages(c *presets.Config, before []Stage) []Stage
}

// all lists the methods. The baseline comes last.
var all = []Method{assembling{}, imitation{}, endToEnd{}}

// Names returns the names of the methods.
func Names() []string {
	var names []string
	for _, m := range all {
		names = append(names, m.Name())
	}
	return names
}

// Stages lists the stages of an experiment, each after the ones it needs. A stage
// that several methods consist of, such as the pre-training of the meta model, is
// there once, with all of them in Stage.Methods.
//
// Names of methods that do not exist are passed over: see [Check].
func Stages(c *presets.Config) []Stage {
	var stages []Stage
	for _, name := range c.Run.Methods {
		i := slices.IndexFunc(all, func(m Method) bool { return m.Name() == name })
		if i < 0 {
			continue
		}
		for _, s := range all[i].Stages(c, stages) {
			if at := index(stages, s.Name); at >= 0 {
				stages[at].Methods = append(stages[at].Methods, name)
				continue
			}
			s.Methods = []string{name}
			stages = append(stages, s)
		}
	}
	return stages
}

func index(stages []Stage, name string) int {
	return slices.IndexFunc(stages, func(s Stage) bool { return s.Name == name })
}

// Find returns the stage of an experiment that has the given name, and false if
// there is none.
func Find(c *presets.Config, name string) (Stage, bool) {
	stages := Stages(c)
	if i := index(stages, name); i >= 0 {
		return stages[i], true
	}
	return Stage{}, false
}

// Last returns the last stage of the experiment's first method, which leaves the target
// model. It returns false if the experiment has no method.
func Last(c *presets.Config) (Stage, bool) {
	if len(c.Run.Methods) == 0 {
		return Stage{}, false
	}
	stages := Of(c.Run.Methods[0], Stages(c))
	if len(stages) == 0 {
		return Stage{}, false
	}
	return stages[len(stages)-1], true
}

// Of lists the stages that a method consists of, those that it shares with other
// methods among them.
func Of(method string, stages []Stage) []Stage {
	var own []Stage
	for _, s := range stages {
		if s.PartOf(method) {
			own = append(own, s)
		}
	}
	return own
}
