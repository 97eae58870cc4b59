package pipeline

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hatchery/engine/method"
	"hatchery/presets"
)

// effectOn returns the effect of a key on a stage. A key that is not mentioned here is
// taken to change the result.
func effectOn(s method.Stage, key string) method.Effect {
	table, name, _ := strings.Cut(key, ".")
	if e, ok := s.Effects[key]; ok {
		return e
	}
	if e, ok := s.Effects[table]; ok {
		return e
	}
	if _, ok := s.Values[key]; ok {
		return method.Result
	}
	switch {
	case table == "launch", table == "modules":
		return method.None // what a stage takes from [modules], it says in its Effects
	case table == "run":
		// The number of threads changes nothing. The device is recorded in each
		// checkpoint, and otherBits warns if it changes.
		return method.None
	case key == "data.root", key == "data.skip_corrupt": // the images are compared instead (runs.Data)
		return method.None
	case key == "data.partition":
		return method.None
	case table == "data" && !s.Trains():
		if name == "train" || name == "fraction" {
			return method.None
		}
		return method.Result
	case table == "model" || table == "data":
		return method.Result
	case !s.Trains():
		return method.None
	}
	recipe := s.Recipe == table
	for _, other := range presets.RecipeTables() {
		if table == other && !recipe { // the recipe of other stages
			return method.None
		}
	}
	switch {
	case recipe && name == "micro_batch":
		return method.Rounding
	case recipe && name == "eval_every":
		return method.Curves
	}
	return method.Result
}

// recipeOf returns the keys that have an effect on a stage, with their values as
// TOML.
func recipeOf(c *presets.Config, s method.Stage) map[string]string {
	all := map[string]string{}
	for key, value := range c.Values() {
		if effectOn(s, key) != method.None {
			all[key] = value
		}
	}
	for key, value := range s.Values {
		if value == "" {
			delete(all, key)
		} else {
			all[key] = value
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
	stages := method.Stages(c)
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
		for _, other := range s.After {
			fmt.Fprintln(h, other, keys[other])
		}
		keys[s.Name] = fmt.Sprintf("%x", h.Sum(nil))
	}
	return keys
}

// change is a key whose value differs from the one that a stage was trained with.
type change struct {
	key, was, now string // was or now is "" if that version of hatchery has no such key
	effect        method.Effect
}

// changes lists the keys in which the recipe that a stage was trained with, was,
// differs from the configuration, in the configuration's order.
func changes(c *presets.Config, s method.Stage, was map[string]string) []change {
	now := recipeOf(c, s)
	var all []change
	compare := func(key string) {
		if _, last := split(was[key]); last != now[key] {
			all = append(all, change{key, was[key], now[key], effectOn(s, key)})
		}
	}
	exists := map[string]bool{}
	for key := range c.Values() {
		exists[key] = true
		if now[key] != "" {
			compare(key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Values)) {
		if !exists[key] {
			exists[key] = true
			compare(key)
		}
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
