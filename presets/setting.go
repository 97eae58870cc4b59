package presets

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Setting is what the program knows of one key of an experiment. The entry of a key
// stands beside its field: see for example [Augment]. Loading, validation, the TOML form,
// the editor and the reference all read it.
type Setting struct {
	Key   string // "modules.k"
	Table string // "modules"; "" for a key outside tables
	Group string // title of its table: "division into modules"

	Help string // what it is, in a short sentence without a period
	Unit string // "px", "images"; "" if it has none

	Words  []string // the values that it can have; nil: any
	Limits Limits   // of a number, or of each number of an array
	Len    int      // of an array: its length; 0: any
	Form   string   // in words, where Words and Limits do not say all: "divides batch"

	// WordsElsewhere means that the words are known to other packages, which check them:
	// the methods, the data sets.
	WordsElsewhere bool

	// Rule is a check of the value alone, after Words and Limits. See the function rule.
	Rule func(value any) error

	Path     bool // its value names a file or a folder: loading makes it absolute
	Optional bool // a preset is complete without it
	PerFile  bool // of one file: files that extend it do not inherit it

	// NotIdentity means that no result depends on it, or that another setting has the
	// same information: [Config.Values] and [Diff] leave it out.
	NotIdentity bool

	// Before is the value for complete files of versions that did not have the key,
	// such as the config.toml of an older run; nil: that of the preset. It keeps what
	// those versions did.
	Before any

	// Effect is what changing the setting does to the result of a stage. Stages are the
	// tables with the recipes of the stages that the setting concerns; nil: all.
	// Validation compares it with other settings only if one of these stages runs.
	Effect Effect
	Stages []string

	// Shared is the key that sets it for all stages: "train.lr" for "meta.lr". It is
	// empty for a setting that is not part of a recipe.
	Shared string

	field any          // pointer to its field, while the registry is built
	typ   reflect.Type // of its value
	index []int        // of its field in Config; nil for the keys of [train] and of the file itself
}

// Effect is what changing a setting does to the result of a stage. It decides whether a
// stage that has begun can continue, and whether a finished stage can be used.
type Effect int

// From the greatest effect to the least. The greatest is what an entry means that says
// nothing: it is the safe assumption.
const (
	EffectResult   Effect = iota // changes the weights
	EffectRounding               // changes the weights by rounding
	EffectCurves                 // changes when a stage is evaluated, and not its weights
	EffectNone                   // changes nothing
)

// String returns the effect as the end of a sentence about a setting.
func (e Effect) String() string {
	return [...]string{"changes results", "changes results by rounding", "changes when stages are evaluated", "changes no result"}[e]
}

// EffectOn returns the effect on a stage whose recipe is in a table.
func (s Setting) EffectOn(table string) Effect {
	if s.Stages != nil && !slices.Contains(s.Stages, table) {
		return EffectNone
	}
	return s.Effect
}

// rule makes a [Setting.Rule] of a function for values of the field's type.
func rule[T any](check func(T) error) func(any) error {
	return func(value any) error { return check(value.(T)) }
}

// Type names the type of the value: "integer", "array of numbers", "true or false".
func (s Setting) Type() string {
	switch s.typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Int, reflect.Uint64:
		return "integer"
	}
	name := expected(s.typ)
	return strings.TrimPrefix(strings.TrimPrefix(name, "an "), "a ")
}

// Range says in a few words which values are possible: "0 (off) to below 1",
// "adamw or lamb". It is empty if all values of the type are.
func (s Setting) Range() string {
	switch {
	case s.Form != "" && s.Limits.specialName != "":
		return s.Form + ", or " + number(s.Limits.special) + " (" + s.Limits.specialName + ")"
	case s.Form != "":
		return s.Form
	case len(s.Words) > 0:
		last := len(s.Words) - 1
		return strings.Join(s.Words[:last], ", ") + " or " + s.Words[last]
	}
	return s.Limits.String()
}

// About is the help with the range and the unit: "random crop after padding (0 to below
// image px)".
func (s Setting) About() string {
	if limits := s.Range(); limits != "" {
		return s.Help + " (" + strings.TrimSpace(limits+" "+s.Unit) + ")"
	}
	return s.Help
}

// Default returns the value in deit.toml, the base of every preset, as TOML; "" if presets
// inherit none.
func (s Setting) Default() string {
	if s.PerFile {
		return ""
	}
	chain, err := readChain(base)
	if err != nil {
		return "" // the file is compiled in
	}
	for _, key := range []string{s.Key, s.Shared} {
		if given, ok := chain[0].layer[key]; ok {
			return tomlLiteral(given.value)
		}
	}
	return ""
}

// TOML returns the value in a configuration as TOML.
func (s Setting) TOML(c *Config) string {
	return tomlLiteral(reflect.ValueOf(c).Elem().FieldByIndex(s.index))
}

// Text returns the value in a configuration as one types it: TOML, but a string without
// quotes.
func (s Setting) Text(c *Config) string {
	if v := reflect.ValueOf(c).Elem().FieldByIndex(s.index); v.Kind() == reflect.String {
		return v.String()
	}
	return s.TOML(c)
}

// Literal returns typed text as TOML, as a --set flag would read it. Text that is no value
// of the setting is returned as it is, for [Load] to report.
func (s Setting) Literal(text string) string {
	text = strings.TrimSpace(text)
	raw, err := parseValue(s.typ, text)
	if err != nil {
		return text
	}
	r := reader{where: func(string) string { return "" }}
	if v, ok := r.convert(s.Key, s.typ, raw); ok {
		return tomlLiteral(v)
	}
	return text
}

// wrong returns what is wrong with a value by itself, or "", and a hint.
func (s Setting) wrong(value any) (reason, hint string) {
	switch x := value.(type) {
	case int:
		reason = s.Limits.wrong(float64(x))
	case uint64:
		if x > math.MaxInt64 {
			return "is too large for TOML; give at most 9223372036854775807", ""
		}
		reason = s.Limits.wrong(float64(x))
	case float64:
		if !finite(x) { // every comparison with NaN is false
			return "must be a finite number", ""
		}
		reason = s.Limits.wrong(x)
	case []int:
		numbers := make([]float64, len(x))
		for i := range x {
			numbers[i] = float64(x[i])
		}
		reason = s.wrongArray("integers", numbers)
	case []float64:
		reason = s.wrongArray("numbers", x)
	case string:
		if len(s.Words) > 0 && !slices.Contains(s.Words, x) {
			return "unknown", Suggest(x, s.Words)
		}
	}
	if reason == "" && s.Rule != nil {
		if err := s.Rule(value); err != nil {
			reason = err.Error()
		}
	}
	if reason == "" {
		return "", ""
	}
	return reason, s.usual()
}

// wrongArray is wrong for an array of numbers, which it calls by their kind.
func (s Setting) wrongArray(kind string, numbers []float64) string {
	bad := s.Len > 0 && len(numbers) != s.Len
	for _, x := range numbers {
		if !finite(x) {
			return "must hold finite numbers"
		}
		if s.Limits.inside(x) && s.Limits.wrong(x) != "" {
			return "holds a number that " + s.Limits.wrong(x)
		}
		bad = bad || s.Limits.wrong(x) != ""
	}
	switch {
	case !bad:
		return ""
	case s.Len > 0:
		return fmt.Sprintf("must hold %d %s, each %s", s.Len, kind, s.Limits.demand())
	}
	return fmt.Sprintf("must hold %s, each %s", kind, s.Limits.demand())
}

// usual says which values are common: the special one and the default.
func (s Setting) usual() string {
	var all []string
	special := ""
	if s.Limits.specialName != "" {
		special = number(s.Limits.special)
		all = append(all, special+" means "+s.Limits.specialName)
	}
	if d := s.Default(); d != "" && d != special && d != `""` && d != "[]" {
		all = append(all, "the default is "+d)
	}
	return strings.Join(all, ", ")
}
