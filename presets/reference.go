package presets

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteReference writes a description of all settings, group by group: key, type, unit,
// possible values, help, default, and effect on results. It describes the keys that all
// recipes have once, under [train]. With words, it writes only the descriptions that
// contain all of them, in any case; if there are none, it returns an error. external holds the
// possible values of settings whose words other packages know (see [Setting.ExternalWords]).
func WriteReference(w io.Writer, external map[string][]string, words ...string) error {
	var titles []string // of groups
	entries := map[string][]string{}
	for _, s := range settings {
		if s.Shared != "" {
			continue
		}
		title := strings.ToUpper(s.Group)
		if s.Table != "" {
			title += " [" + s.Table + "]"
		}
		if s.Table == shared {
			title += ", unless the table of a stage has its own value: [" + strings.Join(recipeTables, "], [") + "]"
		}
		if s.ExternalWords {
			if words := external[s.Key]; words != nil {
				s.Form += ": " + strings.Join(words, ", ")
			}
		}
		entry := s.reference()
		text := strings.ToLower(title + "\n" + entry)
		for _, table := range recipeTables {
			if s.Table == shared {
				text += "\n" + table + strings.TrimPrefix(s.Key, shared)
			}
		}
		if slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, strings.ToLower(word)) }) {
			continue
		}
		if entries[title] == nil {
			titles = append(titles, title)
		}
		entries[title] = append(entries[title], entry)
	}
	if len(titles) == 0 {
		return fmt.Errorf("no setting matches %q", strings.Join(words, " "))
	}
	for _, title := range titles {
		if _, err := fmt.Fprintf(w, "%s\n\n%s\n", title, strings.Join(entries[title], "\n")); err != nil {
			return err
		}
	}
	return nil
}

// reference returns a description of the setting in three lines.
func (s Setting) reference() string {
	values := []string{s.Type()}
	for _, part := range []string{s.Unit, s.Range()} {
		if part != "" && part != values[0] {
			values = append(values, part)
		}
	}
	return fmt.Sprintf("  %s: %s\n      %s\n      default: %s; %s\n", s.Key, strings.Join(values, ", "), s.Help, s.defaults(), s.effect())
}

// defaults returns the default. For a key of [train] it adds the defaults of the recipes
// that differ.
func (s Setting) defaults() string {
	var others []string
	for _, r := range settings {
		if r.Shared == s.Key && r.Default() != s.Default() {
			others = append(others, r.Table+" "+r.Default())
		}
	}
	all := s.Default()
	if all == "" {
		all = "none"
	}
	if len(others) > 0 {
		all += " (" + strings.Join(others, ", ") + ")"
	}
	return all
}

// effect returns the effect, and the stages that it concerns unless it concerns all.
func (s Setting) effect() string {
	if s.Effect != EffectNone && s.Stages != nil {
		return fmt.Sprintf("%v, of [%s] only", s.Effect, strings.Join(s.Stages, "], ["))
	}
	return s.Effect.String()
}
