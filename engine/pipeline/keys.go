package pipeline

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"hatchery/presets"
)

// effect is what changing a key of the configuration does to the result of a stage.
// It decides whether a stage that has begun can continue, and whether a finished
// stage can be used.
type effect int

const (
	none     effect = iota // changes nothing
	curves                 // changes when the stage is evaluated, and not its weights
	rounding               // changes the weights by rounding
	result                 // changes the weights
)

// effect returns the effect of a key on stages of this kind. A key that is not
// mentioned here is taken to change the result.
func (k Kind) effect(key string) effect {
	if key == metaLayers {
		return result
	}
	table, name, _ := strings.Cut(key, ".")
	modular := k == Incubate || k == Imitate
	switch table {
	case "launch":
		return none
	case "run":
		switch {
		case name == "together" && modular:
			return rounding
		case name == "equal" && k == E2E:
			return result
		}
		// The number of threads changes nothing. The device is recorded in each
		// checkpoint, and otherBits warns if it changes.
		return none
	case "data":
		switch name {
		case "root", "skip_corrupt": // the images are compared instead (runs.Data)
			return none
		case "partition":
			if !modular {
				return none
			}
		case "train", "fraction":
			if k == Assemble {
				return none
			}
		}
		return result
	case "modules":
		if modular || k == Assemble {
			return result
		}
		return none // the meta model depends on metaLayers, later stages on their Inputs
	case "model":
		if name == "depth" && k == Meta {
			return none
		}
		return result
	}
	if k == Assemble { // it does not train
		return none
	}
	for _, recipes := range tables {
		if table == recipes && table != tables[k] { // the recipe of another kind of stage
			return none
		}
	}
	if table == tables[k] {
		switch name {
		case "micro_batch":
			return rounding
		case "eval_every":
			return curves
		}
	}
	return result
}

// metaLayers is a key of the meta model's recipe for its depth, which is all that
// it takes from [modules].
const metaLayers = "modules.k * modules.meta_depth"

// recipeOf returns the keys that have an effect on a stage, with their values as
// TOML.
func recipeOf(c *presets.Config, s Stage) map[string]string {
	all := map[string]string{}
	for key, value := range c.Values() {
		if s.Kind.effect(key) != none {
			all[key] = value
		}
	}
	switch s.Kind {
	case Meta:
		all[metaLayers] = fmt.Sprint(c.Modules.K * c.Modules.MetaDepth)
	case E2E:
		all["run.equal"] = `"epochs"`
		if atCost(c) {
			all["run.equal"] = fmt.Sprintf("%q, that of %s", c.Run.Equal, c.Run.Methods[0])
			delete(all, "e2e.epochs")
		}
	}
	return all
}

// StageKeys returns for each stage of an experiment, by name, a digest of all
// parts of the configuration that its result depends on. Stages of two experiments
// with the same digest and the same images end with the same weights and curves,
// so that one can replace the other.
//
// A stage depends on its recipe and on the stages it needs. The meta model, for
// one, does not depend on the depth of the target model, nor on fine-tuning.
func StageKeys(c *presets.Config) map[string]string {
	stages := Stages(c)
	keys := map[string]string{}
	for _, s := range stages {
		h := sha256.New()
		fmt.Fprintln(h, s.Kind, s.Name, s.Module)
		own := recipeOf(c, s)
		for _, key := range slices.Sorted(maps.Keys(own)) {
			fmt.Fprintln(h, key, own[key])
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

// costOf writes to w the keys of the stages on which the length of end-to-end
// training at equal cost depends: those of the method that it is compared with.
func costOf(w io.Writer, c *presets.Config, stages []Stage, keys map[string]string) {
	if !atCost(c) {
		return
	}
	for _, s := range ofMethod(c.Run.Methods[0], stages) {
		if s.Kind != HighRes {
			fmt.Fprintln(w, s.Name, keys[s.Name])
		}
	}
}

// change is a key whose value differs from the one that a stage was trained with.
type change struct {
	key, was, now string // was or now is "" if that version of hatchery has no such key
	effect        effect
}

// changes lists the keys in which the recipe that a stage was trained with, was,
// differs from the configuration, in the configuration's order.
func changes(c *presets.Config, s Stage, was map[string]string) []change {
	now := recipeOf(c, s)
	var all []change
	compare := func(key string) {
		if _, last := split(was[key]); last != now[key] {
			all = append(all, change{key, was[key], now[key], s.Kind.effect(key)})
		}
	}
	exists := map[string]bool{metaLayers: true}
	for key := range c.Values() {
		exists[key] = true
		if now[key] != "" {
			compare(key)
		}
	}
	if now[metaLayers] != "" {
		compare(metaLayers)
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if !exists[key] {
			compare(key)
		}
	}
	return all
}

// known reports whether both the version that trained the stage and this one have
// the key.
func (d change) known() bool { return d.was != "" && d.now != "" }

// thenNow records a value that changed, harmlessly, while a stage was trained:
// "first, then second".
func thenNow(was, now string) string {
	if was == "" || now == "" {
		return was
	}
	if _, last := split(was); last == now {
		return was
	}
	return was + then + now
}

const then = ", then "

// split divides what thenNow has written into its last value and all before that.
func split(value string) (before, last string) {
	i := strings.LastIndex(value, then)
	if i < 0 {
		return "", value
	}
	return value[:i], value[i+len(then):]
}
