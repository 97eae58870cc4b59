package presets

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Setting describes one key of an experiment. The entry of a key is next to its field: see
// for example [Augment]. Loading, validation, the TOML form, the editor and the reference
// all use it.
type Setting struct {
	Key   string // "modules.k"
	Table string // "modules"; "" for a key outside tables
	Group string // title of its table: "division into modules"

	Help string // a short description without a period at the end
	Unit string // "px", "images"; "" if it has none

	Words  []string // possible values; nil means any
	Limits Limits   // of a number, or of each number of an array
	Len    int      // length of an array; 0 means any
	Form   string   // description of the values if Words and Limits are not enough: "divides batch"

	// ExternalWords means that other packages know and check the possible values: the
	// methods, the data sets.
	ExternalWords bool

	// Rule checks the value alone, after Words and Limits. See the function rule.
	Rule func(value any) error

	Path     bool // the value is the path of a file or a folder, which loading makes absolute
	Optional bool // a preset is complete without it
	PerFile  bool // files do not inherit it from those that they extend

	// NotIdentity means that no result depends on the setting, or that another setting
	// holds the same information: [Config.Values] and [Diff] skip it.
	NotIdentity bool

	// Legacy is the value for complete files of versions without the key, such as the
	// config.toml of an older run; nil means the preset's value. It keeps the behaviour of
	// those versions.
	Legacy any

	// Effect is the effect of a change on the result of a stage. Stages are the recipe
	// tables of the stages that the setting concerns; nil means all. Validation compares
	// the setting with others only if one of these stages runs.
	Effect Effect
	Stages []string

	// Shared is the key that sets it for all stages: "train.lr" for "meta.lr". It is
	// empty for a setting that is not part of a recipe.
	Shared string

	field any          // pointer to its field, while the registry is built
	typ   reflect.Type // of its value
	index []int        // of its field in Config; nil for the keys of [train] and of the file itself
}

// Effect is the effect of changing a setting on the result of a stage. It decides whether
// a stage that has begun can continue, and whether a finished stage can be used.
type Effect int

// From the greatest effect to the least. The greatest is the zero value, which is the safe
// assumption for an entry without an Effect.
const (
	EffectResult   Effect = iota // changes the weights
	EffectRounding               // changes the weights by rounding
	EffectCurves                 // changes when a stage is evaluated, but not its weights
	EffectNone                   // changes nothing
)

// String returns the effect as the end of a sentence about a setting.
func (e Effect) String() string {
	return [...]string{"changes results", "changes results by rounding", "changes when stages are evaluated", "changes no result"}[e]
}

// EffectOn returns the effect on the stage whose recipe is in table.
func (s Setting) EffectOn(table string) Effect {
	if s.Stages != nil && !slices.Contains(s.Stages, table) {
		return EffectNone
	}
	return s.Effect
}

// rule returns a [Setting.Rule] that calls check with a value of the field's type.
func rule[T any](check func(T) error) func(any) error {
	return func(value any) error { return check(value.(T)) }
}

// Type returns the name of the value's type: "integer", "array of numbers", "true or
// false".
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

// Range describes the possible values: "0 (off) to below 1", "adamw or lamb". It is empty
// if all values of the type are possible.
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

// About returns the help with the range and the unit: "random crop after padding (0 to
// below image px)".
func (s Setting) About() string {
	if limits := s.Range(); limits != "" {
		return s.Help + " (" + strings.TrimSpace(limits+" "+s.Unit) + ")"
	}
	return s.Help
}

// Default returns the value in deit.toml, the base of every preset, as TOML, or "" if
// presets do not inherit the setting.
func (s Setting) Default() string {
	if s.PerFile {
		return ""
	}
	chain, err := readChain(base)
	if err != nil {
		return "" // cannot happen: the file is embedded
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

// Text returns the value in a configuration as a user types it: TOML, but a string without
// quotes.
func (s Setting) Text(c *Config) string {
	if v := reflect.ValueOf(c).Elem().FieldByIndex(s.index); v.Kind() == reflect.String {
		return v.String()
	}
	return s.TOML(c)
}

// Literal returns the TOML of a value that a user typed, read as a --set flag. It returns
// invalid text unchanged, for [Load] to report.
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

// violation returns the reason why a value is invalid by itself, or "", and a hint.
func (s Setting) violation(value any) (reason, hint string) {
	switch x := value.(type) {
	case int:
		reason = s.Limits.violation(float64(x))
	case uint64:
		if x > math.MaxInt64 {
			return "is too large for TOML; give at most 9223372036854775807", ""
		}
		reason = s.Limits.violation(float64(x))
	case float64:
		if !finite(x) { // every comparison with NaN is false
			return "must be a finite number", ""
		}
		reason = s.Limits.violation(x)
	case []int:
		numbers := make([]float64, len(x))
		for i := range x {
			numbers[i] = float64(x[i])
		}
		reason = s.arrayViolation("integers", numbers)
	case []float64:
		reason = s.arrayViolation("numbers", x)
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

// arrayViolation is violation for an array; kind is the word for its numbers.
func (s Setting) arrayViolation(kind string, numbers []float64) string {
	bad := s.Len > 0 && len(numbers) != s.Len
	for _, x := range numbers {
		if !finite(x) {
			return "must hold finite numbers"
		}
		if s.Limits.contains(x) && s.Limits.violation(x) != "" {
			return "holds a number that " + s.Limits.violation(x)
		}
		bad = bad || s.Limits.violation(x) != ""
	}
	switch {
	case !bad:
		return ""
	case s.Len > 0:
		return fmt.Sprintf("must hold %d %s, each %s", s.Len, kind, s.Limits.condition())
	}
	return fmt.Sprintf("must hold %s, each %s", kind, s.Limits.condition())
}

// usual returns a hint with the special value and the default.
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
