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

// effectOn returns the effect of a setting on the result of a stage. An unknown key, from
// another version, counts as changing the result.
func effectOn(s method.Stage, key string) presets.Effect {
	if _, ok := s.Values[key]; ok {
		return presets.EffectResult
	}
	table, _, _ := strings.Cut(key, ".")
	for _, exception := range []string{key, table} {
		if e, ok := s.Effects[exception]; ok {
			return e
		}
	}
	setting, ok := presets.Lookup(key)
	if !ok {
		return presets.EffectResult
	}
	return setting.EffectOn(s.Recipe)
}

// recipeOf returns the keys that have an effect on a stage, with their values as TOML.
func recipeOf(c *presets.Config, s method.Stage) map[string]string {
	all := map[string]string{}
	for key, value := range c.Values() {
		if effectOn(s, key) != presets.EffectNone {
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

// StageKeys returns, for each stage of an experiment by name, a digest of the parts of the
// configuration that its result depends on. Stages of two experiments with the same digest
// and the same images end with the same weights and curves, so that one can replace the
// other.
//
// A stage depends on its recipe and on the stages that it needs. The meta model, for example,
// depends neither on the depth of the target model nor on fine-tuning.
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
	effect        presets.Effect
}

// changes returns the keys in which the configuration differs from was, the recipe that a
// stage was trained with, in the configuration's order.
func changes(c *presets.Config, s method.Stage, was map[string]string) []change {
	now := recipeOf(c, s)
	var all []change
	compare := func(key string) {
		if _, last := splitLast(was[key]); last != now[key] {
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

// appendValue records a value that changed harmlessly during a stage: "first, then second".
func appendValue(was, now string) string {
	if was == "" || now == "" {
		return was
	}
	if _, last := splitLast(was); last == now {
		return was
	}
	return was + valueSeparator + now
}

const valueSeparator = ", then "

// splitLast splits a result of appendValue into the earlier values and the last one.
func splitLast(value string) (before, last string) {
	i := strings.LastIndex(value, valueSeparator)
	if i < 0 {
		return "", value
	}
	return value[:i], value[i+len(valueSeparator):]
}
