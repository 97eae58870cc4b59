package pipeline

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"hatchery/presets"
)

// StageKeys gives for each stage of an experiment a text that stands for all
// that its result depends on: stages of two experiments that have the same key
// end with the same weights, so that one can be taken over for the other.
//
// A stage depends on the keys of the configuration that it reads and on the
// stages it needs. The meta model, for one, does not depend on the depth of the
// target model, nor on fine-tuning.
func StageKeys(c *presets.Config) map[string]string {
	stages := Stages(c)
	keys := map[string]string{}
	for _, s := range stages {
		h := sha256.New()
		fmt.Fprintln(h, s.Kind, s.Name, s.Module)
		for key, value := range c.Values() {
			if s.Kind.reads(key) {
				fmt.Fprintln(h, key, value)
			}
		}
		if s.Kind == Meta {
			fmt.Fprintln(h, "depth", c.Modules.K*c.Modules.MetaDepth)
		}
		for _, need := range s.Needs {
			fmt.Fprintln(h, need, keys[need])
		}
		if s.Kind == E2E {
			costOf(h, c, stages, keys)
		}
		keys[s.Name] = fmt.Sprintf("%x", h.Sum(nil))
	}
	return keys
}

// costOf writes what the length of end-to-end training at equal cost depends
// on: the stages of the method with which it is compared.
func costOf(w io.Writer, c *presets.Config, stages []Stage, keys map[string]string) {
	first := c.Run.Methods[0]
	if c.Run.Equal != "cost" || first == EndToEnd {
		return
	}
	for _, s := range ofMethod(first, stages) {
		if s.Kind != HighRes {
			fmt.Fprintln(w, s.Name, keys[s.Name])
		}
	}
}

// reads reports whether the result of a stage of this kind may depend on a key
// of the configuration. What is not known to be without effect counts.
func (k Kind) reads(key string) bool {
	table, name, _ := strings.Cut(key, ".")
	modular := []Kind{Incubate, Imitate}
	switch table {
	case "launch":
		return false
	case "run":
		// Together or alone the weights are the same up to rounding only.
		return name == "together" && slices.Contains(modular, k)
	case "data":
		return name != "partition" || slices.Contains(modular, k)
	case "modules":
		return k != Meta && k != E2E && k != HighRes // see StageKeys for the meta model's depth
	case "model":
		return name != "depth" || k != Meta
	}
	for _, own := range tables {
		if own == table { // the recipe of some kind of stage
			return tables[k] == table
		}
	}
	return true
}
