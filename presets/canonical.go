package presets

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"hatchery/engine/printable"
)

// TOML returns the configuration with every key, each stage complete. [Load] reads the
// same Config from it, in any folder and whatever the presets are by then. Characters
// that are unsafe on a terminal are escaped.
func (c *Config) TOML() []byte {
	filled := *c
	v := reflect.ValueOf(&filled).Elem()
	for _, s := range settings {
		if s.index == nil {
			continue
		}
		// The encoder omits nil slices, and Load would inherit an omitted key.
		if list := v.FieldByIndex(s.index); list.Kind() == reflect.Slice && list.IsNil() {
			list.Set(reflect.MakeSlice(list.Type(), 0, 0))
		}
	}
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(filled); err != nil {
		// Neither the buffer nor the field types of Config can fail.
		panic(fmt.Sprintf("presets: encoding a Config: %v", err))
	}
	return []byte(printable.TOML(b.String()))
}

// Change is a key whose value differs between two configurations.
type Change struct {
	Key  string // "modules.k"
	A, B string // as TOML
}

// Diff returns the keys whose values differ, in the order of Config. It ignores keys that
// are not part of a run's identity (see [Setting.NotIdentity]).
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

// Values returns an iterator over the keys of a run's identity and their values as TOML,
// in the order of Config.
func (c *Config) Values() iter.Seq2[string, string] {
	v := reflect.ValueOf(c).Elem()
	return func(yield func(string, string) bool) {
		for _, s := range settings {
			if s.index == nil || s.NotIdentity {
				continue
			}
			if !yield(s.Key, literal(v.FieldByIndex(s.index))) {
				return
			}
		}
	}
}

// literal formats a value as TOML for messages and digests. It escapes unprintable
// characters as Go does, which is not valid TOML: the digests of older runs were computed
// so.
func literal(v reflect.Value) string { return formatValue(v, strconv.Quote) }

// tomlLiteral formats a value as TOML.
func tomlLiteral(v reflect.Value) string { return formatValue(v, Quote) }

func formatValue(v reflect.Value, quote func(string) string) string {
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = formatValue(v.Index(i), quote)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// Quote returns s as a TOML string.
func Quote(s string) string {
	return `"` + printable.TOML(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s)) + `"`
}
