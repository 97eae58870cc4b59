package pages

import (
	"slices"
	"strconv"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/presets"
)

// fields lists the settings that can be edited, those that users change first at the top.
// It does not have settings that only describe an experiment.
var fields = func() []presets.Setting {
	all := slices.DeleteFunc(presets.Settings(), func(s presets.Setting) bool {
		return s.NotIdentity && s.Effect == presets.EffectNone
	})
	first := []string{"modules", ""}
	rank := func(s presets.Setting) int {
		if i := slices.Index(first, s.Table); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(all, func(a, b presets.Setting) int { return rank(a) - rank(b) })
	return all
}()

// wordsElsewhere returns the possible values of settings for which package presets does not
// know them, by key.
var wordsElsewhere = map[string]func() []string{
	"data.name":   datasets.Names,
	"run.methods": methods,
}

// methods returns combinations of methods as TOML.
func methods() []string {
	var all []string
	for _, names := range method.Combinations() {
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = presets.Quote(name)
		}
		all = append(all, "["+strings.Join(quoted, ", ")+"]")
	}
	return all
}

// valueAfter returns the value that is by steps after the given one, in the form in which
// it is typed. It returns false if there is none.
func valueAfter(s presets.Setting, value string, by int) (string, bool) {
	words := s.Words
	if list := wordsElsewhere[s.Key]; list != nil {
		words = list()
	}
	if len(words) > 0 {
		i := slices.Index(words, value)
		return words[((i+by)%len(words)+len(words))%len(words)], true
	}
	if s.Type() == "integer" {
		n, err := strconv.Atoi(value)
		return strconv.Itoa(n + by), err == nil && n+by >= 0
	}
	return "", false
}
