package presets

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"hatchery/engine/printable"
)

// TOML writes the configuration with every key, each stage complete. [Load] of
// it gives the same Config, wherever and whenever it is read. Characters that are unsafe
// on a terminal are written as escapes.
func (c *Config) TOML() []byte {
	whole := *c
	v := reflect.ValueOf(&whole).Elem()
	for _, f := range fields {
		if f.index == nil {
			continue
		}
		// The encoder leaves nil slices out, and what is left out is inherited.
		if s := v.FieldByIndex(f.index); s.Kind() == reflect.Slice && s.IsNil() {
			s.Set(reflect.MakeSlice(s.Type(), 0, 0))
		}
	}
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(whole); err != nil {
		// Neither the buffer nor the field types of Config can fail.
		panic(fmt.Sprintf("presets: encoding a Config: %v", err))
	}
	return []byte(printable.TOML(b.String()))
}

// Quote returns s as a TOML string.
func Quote(s string) string {
	return `"` + printable.TOML(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s)) + `"`
}

// Change is a key whose value differs between two configurations.
type Change struct {
	Key  string // "modules.k"
	A, B string // as TOML
}

// Diff lists, in the order of Config, the keys in which two configurations differ.
// It leaves out what changes no run: name, title, notes, what is missing and
// the paper's numbers; and the schedule, which repeats the epochs of two stages.
func Diff(a, b *Config) []Change {
	others := maps.Collect(b.Values())
	var changes []Change
	for key, x := range a.Values() {
		if y := others[key]; x != y {
			changes = append(changes, Change{key, x, y})
		}
	}
	return changes
}

// Values gives every key that a run can depend on with its value as TOML, in
// the order of Config: what [Diff] compares.
func (c *Config) Values() iter.Seq2[string, string] {
	v := reflect.ValueOf(c).Elem()
	return func(yield func(string, string) bool) {
		for _, f := range fields {
			if f.index == nil || f.key == "paper" || f.key == "missing" || f.key == "schedule" || slices.Contains(described, f.key) {
				continue
			}
			if !yield(f.key, literal(v.FieldByIndex(f.index))) {
				return
			}
		}
	}
}

// literal writes a value as TOML does.
func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
