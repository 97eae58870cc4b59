package presets

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// shared is the table of values for all recipes.
const shared = "train"

// settings is the registry: every key in the order of [Config], those of [train] before the
// recipes.
var settings = newRegistry()

var byKey = func() map[string]*Setting {
	all := map[string]*Setting{}
	for i := range settings {
		all[settings[i].Key] = &settings[i]
	}
	return all
}()

// Settings returns every setting of a configuration, in the order of [Config].
func Settings() []Setting {
	return slices.DeleteFunc(slices.Clone(settings), func(s Setting) bool { return s.index == nil })
}

// Lookup returns the setting of a key. Keys of [train] have settings, but no values in a
// [Config].
func Lookup(key string) (s Setting, ok bool) {
	if found := lookup(key); found != nil {
		return *found, true
	}
	return Setting{}, false
}

// lookup returns the setting of a key, or nil.
func lookup(key string) *Setting { return byKey[key] }

// RecipeTables returns the names of the tables with recipes, in the order of the stages.
func RecipeTables() []string { return slices.Clone(recipeTables) }

var recipeTables = func() (tables []string) {
	for _, g := range new(Config).groups() {
		if g.recipe != nil {
			tables = append(tables, g.table)
		}
	}
	return tables
}()

// newRegistry combines the fields of Config, which give the keys, their types and their
// order, with the fields' entries.
func newRegistry() []Setting {
	common := new(Recipe)
	train := join(common, shared, []group{{table: shared, title: "values for the recipes of all stages", settings: common.settings()}})
	inTrain := map[string]bool{}
	for i := range train {
		inTrain[train[i].Key] = true
		train[i].index = nil
	}

	c := new(Config)
	groups := c.groups()
	all := []Setting{
		{Key: "extends", typ: reflect.TypeFor[string](), Group: groups[0].title, Optional: true, PerFile: true, NotIdentity: true, Effect: EffectNone,
			Help: "the preset or file that this file changes"},
		{Key: "abstract", typ: reflect.TypeFor[bool](), Group: groups[0].title, Optional: true, PerFile: true, NotIdentity: true, Effect: EffectNone,
			Help: "whether the file is only a base for others"},
	}
	fileKeys := len(all)
	all = append(all, join(c, "", groups)...)
	for i := range all {
		s := &all[i]
		if !slices.Contains(recipeTables, s.Table) {
			continue
		}
		s.Stages = []string{s.Table}
		if key := joinKey(shared, strings.TrimPrefix(s.Key, s.Table+".")); inTrain[key] {
			s.Shared = key
		}
	}
	first := fileKeys + slices.IndexFunc(all[fileKeys:], func(s Setting) bool { return s.Shared != "" })
	return slices.Insert(all, first, train...)
}

// join returns the settings of the fields of the struct that config points to. table is
// the name of its table.
func join(config any, table string, groups []group) []Setting {
	entries := map[any]Setting{}
	for _, g := range groups {
		for _, s := range g.settings {
			s.Table, s.Group = g.table, g.title
			entries[s.field] = s
		}
	}
	v := reflect.ValueOf(config).Elem()
	var all []Setting
	var walk func(t reflect.Type, table string, index []int)
	walk = func(t reflect.Type, table string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			key, at := f.Tag.Get("toml"), append(slices.Clone(index), i)
			switch {
			case f.Anonymous: // its keys belong to the same table
				walk(f.Type, table, at)
			case key == "":
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, joinKey(table, key), at)
			default:
				s := entries[v.FieldByIndex(at).Addr().Interface()]
				s.Key, s.typ, s.index, s.field = joinKey(table, key), f.Type, at, nil
				if f.Type.Kind() == reflect.Bool {
					s.Words = []string{"true", "false"}
				}
				all = append(all, s)
			}
		}
	}
	walk(v.Type(), table, nil)
	return all
}

// isTable reports whether path is a table of Config, such as "model".
func isTable(path string) bool {
	return slices.ContainsFunc(settings, func(s Setting) bool { return strings.HasPrefix(s.Key, path+".") })
}

// suggestKey returns a hint for an unknown key.
func suggestKey(path string) string {
	table, name := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		table, name = path[:i], path[i+1:]
	}
	var keys, names, tables []string
	var children []string // keys and tables in the table
	for _, s := range settings {
		keys = append(keys, s.Key)
		i := strings.LastIndexByte(s.Key, '.')
		names = append(names, s.Key[i+1:])
		if i >= 0 && !slices.Contains(tables, s.Key[:i]) {
			tables = append(tables, s.Key[:i])
		}
		rest, ok := s.Key, true
		if table != "" {
			rest, ok = strings.CutPrefix(s.Key, table+".")
		}
		rest, _, _ = strings.Cut(rest, ".")
		if ok && !slices.Contains(children, rest) {
			children = append(children, rest)
		}
	}
	// First a mistyped name, then a name in the wrong table, then a mistyped path: "trian"
	// in [data], "width", "modle.width".
	if near := Nearest(name, children); near != "" {
		return "did you mean " + joinKey(table, near) + "?"
	}
	if near := Nearest(name, names); near != "" {
		return "did you mean " + keys[slices.Index(names, near)] + "?"
	}
	if near := Nearest(path, keys); near != "" {
		return "did you mean " + near + "?"
	}
	switch {
	case table == "":
		return "the keys and tables of a preset are " + strings.Join(children, ", ")
	case len(children) == 0:
		return fmt.Sprintf("there is no table [%s]; the tables are %s", table, strings.Join(tables, ", "))
	}
	return fmt.Sprintf("the keys of [%s] are %s", table, strings.Join(children, ", "))
}

// expected returns a phrase for the TOML of a type.
func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "an integer"
	case reflect.Uint64:
		return "an integer of at least 0"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string in quotes"
	case reflect.Slice:
		switch t.Elem().Kind() {
		case reflect.Int:
			return "an array of integers"
		case reflect.Float64:
			return "an array of numbers"
		case reflect.String:
			return "an array of strings"
		}
		return "an array of tables"
	}
	return "a table"
}

// describe returns a phrase for a decoded value of a wrong type.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the string %s", shorten(fmt.Sprintf("%q", v)))
	case int64:
		return fmt.Sprintf("the integer %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case time.Time:
		return "a date"
	case []any, []map[string]any:
		return "an array"
	}
	return "a table"
}

// shorten truncates a value for a message to 60 characters.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}
