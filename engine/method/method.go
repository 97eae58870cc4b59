// Package method defines the methods of training a target model: Deep Model Assembling
// (Algorithm 1 of the paper) and the methods that it is compared with.
//
// A method has one file in this package and one entry in the list of methods. It defines
// the stages of an experiment and everything that the rest of the program needs to know
// about each stage: its network, its recipe, its random numbers, the weights it reads and
// the methods it belongs to. The pipeline, the schedulers and the workbench handle stages
// without knowing the method.
package method

import (
	"slices"

	"hatchery/presets"
)

// Method is a method of training the target model.
type Method interface {
	// Name returns the method's name in run.methods and in the table of results.
	Name() string

	// Stages lists the stages of the method, each after the stages that it needs.
	// before holds the stages of the methods that precede this one in run.methods.
	//
	// Methods share a stage if they give it the same name; see [Stages].
	Stages(c *presets.Config, before []Stage) []Stage
}

// all lists the methods. The baseline is the last one.
var all = []Method{assembling{}, imitation{}, endToEnd{}}

// Names returns the names of the methods.
func Names() []string {
	var names []string
	for _, m := range all {
		names = append(names, m.Name())
	}
	return names
}

// Stages lists the stages of an experiment, each after the stages that it needs. A stage of
// several methods, such as the pre-training of the meta model, is listed once, with all of
// them in Stage.Methods.
//
// Stages ignores unknown method names; [Check] reports them.
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

// Find returns the stage of an experiment with the given name, and false if there is none.
func Find(c *presets.Config, name string) (Stage, bool) {
	stages := Stages(c)
	if i := index(stages, name); i >= 0 {
		return stages[i], true
	}
	return Stage{}, false
}

// StagesOf returns the stages of a method, including those that it shares with other
// methods.
func StagesOf(method string, stages []Stage) []Stage {
	var all []Stage
	for _, s := range stages {
		if s.PartOf(method) {
			all = append(all, s)
		}
	}
	return all
}
