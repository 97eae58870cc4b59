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

// effect is what a change of a key of the configuration does to the result of a
// stage: whether one that has begun can go on, and one that is done be used.
type effect int

const (
	none     effect = iota // nothing
	curves                 // the weights stay, and are evaluated at other times
	rounding               // the weights are the same up to rounding
	result                 // anything else
)

// effect is that of a key on stages of this kind. It is the one place that knows.
// What is not known to be without effect counts.
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
		// Threads change nothing. What a stage was computed on is in its
		// checkpoints, and otherBits says what another device means.
		return none
	case "data":
		switch name {
		case "root", "skip_corrupt": // the images themselves are compared (runs.Data)
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
		return none // metaLayers for the meta model, Inputs for what comes after
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
		if table == recipes && table != tables[k] { // of another kind of stage
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

// metaLayers is the key of a recipe that stands for the depth of the meta model,
// which is all that it takes from [modules].
const metaLayers = "modules.k * modules.meta_depth"

// recipeOf has the keys that have an effect on a stage, with their values as TOML.
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

// StageKeys gives for each stage of an experiment a text that stands for all
// of the configuration that its result depends on: stages of two experiments that
// have the same key and the same images end with the same weights and curves, so
// that one can be taken over for the other.
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

// costOf writes what the length of end-to-end training at equal cost depends
// on: the stages of the method with which it is compared.
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

// change is a key whose value is not that with which a stage was trained.
type change struct {
	key, was, now string // "": the version of then or of now has no such key
	effect        effect
}

// changes lists, in the order of the configuration, in what a stage's recipe is
// not that of the configuration.
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

// known says that both the version that trained a stage and this one have the key.
func (d change) known() bool { return d.was != "" && d.now != "" }

// thenNow is the value of what changed without harm while a stage was trained:
// that it began with one value and went on with another.
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

// split parts what thenNow has put together before the last value.
func split(value string) (before, last string) {
	i := strings.LastIndex(value, then)
	if i < 0 {
		return "", value
	}
	return value[:i], value[i+len(then):]
}
