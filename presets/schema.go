package presets

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is a key that a file may set: a leaf of Config.
type field struct {
	key   string // "model.width"
	typ   reflect.Type
	index []int // in Config; nil for the keys of [train] and of the file itself
	path  bool  // its value names a file or a folder: see IsPath
}

// The tables of the stages, in the order in which they run, and the table of
// what they share.
var stages = []string{"meta", "modular", "finetune", "e2e", "highres"}

const shared = "train"

// described keys say what a file is. They are the file's own: a file that
// extends another does not inherit them.
var described = []string{"name", "title", "notes"}

// fields holds every key in the order of Config, [train] before the stages.
var fields = func() []field {
	fs := []field{
		{key: "extends", typ: reflect.TypeFor[string]()},
		{key: "abstract", typ: reflect.TypeFor[bool]()},
	}
	for _, f := range leaves(reflect.TypeFor[Config](), "", nil) {
		if f.key == stages[0]+".epochs" {
			for _, t := range leaves(reflect.TypeFor[Stage](), shared+".", nil) {
				fs = append(fs, field{key: t.key, typ: t.typ})
			}
		}
		fs = append(fs, f)
	}
	return fs
}()

func leaves(t reflect.Type, prefix string, index []int) []field {
	var fs []field
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("toml")
		at := append(slices.Clone(index), i)
		switch {
		case f.Anonymous: // its keys are the table's own
			fs = append(fs, leaves(f.Type, prefix, at)...)
		case key == "":
		case f.Type.Kind() == reflect.Struct:
			fs = append(fs, leaves(f.Type, prefix+key+".", at)...)
		default:
			fs = append(fs, field{key: prefix + key, typ: f.Type, index: at, path: f.Tag.Get("path") != ""})
		}
	}
	return fs
}

// lookup finds a key; nil if there is none.
func lookup(key string) *field {
	for i := range fields {
		if fields[i].key == key {
			return &fields[i]
		}
	}
	return nil
}

// isTable reports whether a path is a table of Config, such as "model".
func isTable(path string) bool {
	return slices.ContainsFunc(fields, func(f field) bool { return strings.HasPrefix(f.key, path+".") })
}

// suggest says what a key that does not exist may have meant.
func suggest(path string) string {
	table, name := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		table, name = path[:i], path[i+1:]
	}
	// A slip in the whole path, then the right name in the wrong table, then a
	// slip in that: "modle.width", "width", "[data] mixpu".
	var all, bare, tables []string
	for _, f := range fields {
		if i := strings.LastIndexByte(f.key, '.'); i >= 0 && !slices.Contains(tables, f.key[:i]) {
			tables = append(tables, f.key[:i])
		}
		all = append(all, f.key)
		last := f.key[strings.LastIndexByte(f.key, '.')+1:]
		bare = append(bare, last)
	}
	var inside []string
	for _, key := range all {
		if i := strings.LastIndexByte(key, '.'); i >= 0 && key[:i] == table {
			inside = append(inside, key[i+1:])
		} else if table == "" {
			top, _, _ := strings.Cut(key, ".")
			if !slices.Contains(inside, top) {
				inside = append(inside, top)
			}
		}
	}
	if near := nearest(name, inside); near != "" {
		return "did you mean " + joinKey(table, near) + "?"
	}
	if near := nearest(name, bare); near != "" {
		return "did you mean " + all[slices.Index(bare, near)] + "?"
	}
	if near := nearest(path, all); near != "" {
		return "did you mean " + near + "?"
	}
	if table == "" {
		return "the keys and tables of a preset are " + strings.Join(inside, ", ")
	}
	if len(inside) == 0 {
		return fmt.Sprintf("there is no table [%s]; the tables are %s", table, strings.Join(tables, ", "))
	}
	return fmt.Sprintf("the keys of [%s] are %s", table, strings.Join(inside, ", "))
}

// expected names a type as its TOML is written.
func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "an integer"
	case reflect.Uint64:
		return "an integer from 0 up"
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

// describe names a value that came where another was expected.
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

// shorten keeps a value that is quoted in a message on one line.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// RecipeTables returns the names of the tables of recipes, in the order in which stages run.
func RecipeTables() []string { return stages }
