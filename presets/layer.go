package presets

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"hatchery/engine/printable"
)

// origin is the position at which a value was written.
type origin struct {
	where string // "my.toml:12", "--set train.lr=1"
	key   string // as written: "train.lr" for a value of "meta.lr" from [train]
}

// setting is the value of one key, of its type in Config.
type setting struct {
	value reflect.Value
	at    origin
}

// layer holds the settings of one file, or of all --set flags. Layers are merged key by
// key.
type layer map[string]setting

// text returns the layer's string under key, or "".
func (l layer) text(key string) string {
	if s, ok := l[key]; ok {
		return s.value.String()
	}
	return ""
}

// reader converts decoded TOML to a layer and collects problems.
type reader struct {
	layer    layer
	where    func(path string) string
	problems Problems
}

func (r *reader) problem(path, reason, hint string) {
	r.problems = append(r.problems, Problem{Where: r.where(path), Key: path, Reason: reason, Hint: hint})
}

// parseFile parses a TOML document; name is for messages.
func parseFile(name, src string) (layer, error) {
	if err := checkDepth(name, src); err != nil {
		return nil, err
	}
	var raw map[string]any
	if _, err := toml.Decode(src, &raw); err != nil {
		return nil, syntaxError(name, src, err)
	}
	if !utf8.ValidString(src) {
		return nil, fmt.Errorf("%s: not UTF-8; save it as UTF-8 text", name)
	}
	lines := keyLines(src)
	r := reader{layer: layer{}, where: func(path string) string {
		return fmt.Sprintf("%s:%d", name, lines[path])
	}}
	r.table("", raw, func(path string) int { return lines[path] })
	r.schedule()
	return r.layer, r.problems.err()
}

// syntaxError returns an error that shows the line and marks the column.
func syntaxError(name, src string, err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("%s: %w", name, err)
	}
	line, col := parse.Position.Line, parse.Position.Col
	all := strings.Split(strings.TrimPrefix(src, "\ufeff"), "\n")
	if line < 1 || line > len(all) {
		return fmt.Errorf("%s:%d:%d: %s", name, line, col, parse.Message)
	}
	text := strings.TrimSuffix(all[line-1], "\r")
	col = min(max(col, 1), len(text)+1) // the package may point past the line's end
	before := printable.Text(text[:col-1])
	margin := strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, before)
	number := strconv.Itoa(line)
	return fmt.Errorf("%s:%d:%d: %s\n  %s | %s\n  %*s | %s^", name, line, col, parse.Message,
		number, printable.Text(text), len(number), "", margin)
}

// table reads the keys of a table in the order of their lines.
func (r *reader) table(path string, raw map[string]any, line func(string) int) {
	keys := slices.Sorted(maps.Keys(raw))
	slices.SortStableFunc(keys, func(a, b string) int {
		return line(joinKey(path, a)) - line(joinKey(path, b))
	})
	for _, key := range keys {
		full := joinKey(path, key)
		s := lookup(full)
		sub, isSub := raw[key].(map[string]any)
		switch {
		case s != nil:
			if v, ok := r.convert(full, s.typ, raw[key]); ok {
				r.layer[full] = setting{v, origin{r.where(full), full}}
			}
		case isTable(full) && isSub:
			r.table(full, sub, line)
		case isTable(full):
			r.problem(full, fmt.Sprintf("want a table, got %s", describe(raw[key])),
				fmt.Sprintf("write [%s] with its keys below", full))
		default:
			r.problem(full, "unknown key", suggestKey(full))
		}
	}
}

// convert checks a value against the type of its key.
func (r *reader) convert(path string, t reflect.Type, raw any) (reflect.Value, bool) {
	v := reflect.New(t).Elem()
	hint := ""
	switch t.Kind() {
	case reflect.Int, reflect.Uint64:
		switch n := raw.(type) {
		case int64:
			if t.Kind() == reflect.Int {
				v.SetInt(n)
				return v, true
			} else if n >= 0 {
				v.SetUint(uint64(n))
				return v, true
			}
		case float64:
			if n == float64(int32(n)) {
				hint = fmt.Sprintf("write %d", int32(n))
			}
		}
	case reflect.Float64:
		switch n := raw.(type) {
		case float64:
			v.SetFloat(n)
			return v, true
		case int64:
			v.SetFloat(float64(n))
			return v, true
		}
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return v, true
		}
	case reflect.String:
		if s, ok := raw.(string); ok {
			v.SetString(s)
			return v, true
		}
	case reflect.Slice:
		if list, ok := array(raw); ok {
			return r.list(path, t, list)
		}
	case reflect.Struct:
		if table, ok := raw.(map[string]any); ok {
			return r.record(path, t, table)
		}
	}
	r.problem(path, fmt.Sprintf("want %s, got %s", expected(t), describe(raw)), hint)
	return v, false
}

// array returns the elements of an array, which the toml package decodes in two forms.
func array(raw any) ([]any, bool) {
	switch list := raw.(type) {
	case []any:
		return list, true
	case []map[string]any:
		all := make([]any, len(list))
		for i := range list {
			all[i] = list[i]
		}
		return all, true
	}
	return nil, false
}

func (r *reader) list(path string, t reflect.Type, raw []any) (reflect.Value, bool) {
	v := reflect.MakeSlice(t, len(raw), len(raw))
	good := true
	for i := range raw {
		e, ok := r.convert(elementKey(path, i), t.Elem(), raw[i])
		if ok {
			v.Index(i).Set(e)
		}
		good = good && ok
	}
	return v, good
}

// record reads one [[paper]]. All keys except method are required.
func (r *reader) record(path string, t reflect.Type, raw map[string]any) (reflect.Value, bool) {
	v := reflect.New(t).Elem()
	good := true
	var names []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("toml")
		names = append(names, name)
		value, given := raw[name]
		if !given {
			if name != "method" {
				r.problem(path, name+" is missing", "")
				good = false
			}
			continue
		}
		e, ok := r.convert(joinKey(path, name), t.Field(i).Type, value)
		if ok {
			v.Field(i).Set(e)
		}
		good = good && ok
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if !slices.Contains(names, name) {
			hint := "the keys are " + strings.Join(names, ", ")
			if near := Nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.problem(joinKey(path, name), "unknown key", hint)
			good = false
		}
	}
	return v, good
}

// schedule replaces "200+100" by the epochs that it stands for, so that layers override
// only those.
func (r *reader) schedule() {
	s, ok := r.layer["schedule"]
	if !ok || s.value.String() == "" {
		return
	}
	modular, finetune, ok := parseSchedule(s.value.String())
	if !ok {
		r.problems = append(r.problems, Problem{Where: s.at.where, Key: "schedule", Value: shorten(strconv.Quote(s.value.String())),
			Reason: "not a schedule", Hint: `write modular + fine-tuning epochs, such as "200+100"`})
		return
	}
	for _, half := range []struct {
		key    string
		epochs int
	}{{"modular.epochs", modular}, {"finetune.epochs", finetune}} {
		given, ok := r.layer[half.key]
		if ok && given.value.Int() != int64(half.epochs) {
			r.problems = append(r.problems, Problem{Where: given.at.where, Key: half.key, Value: fmt.Sprint(given.value.Int()),
				Reason: fmt.Sprintf("contradicts schedule = %q (%s)", s.value.String(), s.at.where),
				Hint:   "keep one of the two"})
			continue
		}
		r.layer[half.key] = setting{reflect.ValueOf(half.epochs), origin{s.at.where, half.key}}
	}
}

// parseSchedule parses the paper's notation: modular + fine-tuning epochs.
func parseSchedule(s string) (modular, finetune int, ok bool) {
	a, b, found := strings.Cut(s, "+")
	m, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 31) // unlike ParseInt, takes no sign
	f, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 31)
	if !found || err1 != nil || err2 != nil || m == 0 || f == 0 {
		return 0, 0, false
	}
	return int(m), int(f), true
}

// parseSets parses all --set flags into one layer.
func parseSets(sets []string) (layer, error) {
	all := reader{layer: layer{}}
	for _, set := range sets {
		flag := "--set " + shorten(printable.Line(set))
		r := reader{layer: all.layer, where: func(string) string { return flag }}
		key, text, found := strings.Cut(set, "=")
		key = printable.Line(strings.TrimSpace(key))
		s := lookup(key)
		switch {
		case !utf8.ValidString(set): // a config.toml that contains it could not be read
			r.problem("", "is not UTF-8, which a configuration must be", "write it in UTF-8; if a path is not UTF-8, make a link to it")
		case !found || key == "":
			r.problem("", "not key=value", "write for example --set modules.k=8")
		case isTable(key):
			r.problem(key, "is a table", "set one of its keys, such as "+firstKey(key)+"=...")
		case s == nil:
			r.problem(key, "unknown key", suggestKey(key))
		case key == "extends" || key == "abstract" || key == "paper":
			r.problem(key, "cannot be set by a flag", "write a file that extends the preset")
		default:
			if raw, err := parseValue(s.typ, strings.TrimSpace(text)); err != nil {
				r.problem(key, fmt.Sprintf("want %s, got %s", expected(s.typ), shorten(strconv.Quote(text))), "")
			} else if v, ok := r.convert(key, s.typ, raw); ok {
				all.layer[key] = setting{v, origin{flag, key}}
			}
		}
		all.problems = append(all.problems, r.problems...)
	}
	all.schedule()
	return all.layer, all.problems.err()
}

// firstKey returns the first key in a table.
func firstKey(table string) string {
	i := slices.IndexFunc(settings, func(s Setting) bool { return strings.HasPrefix(s.Key, table+".") })
	return settings[i].Key
}

// parseValue parses the value of a --set flag as TOML. Since shells remove quotes and
// interpret brackets, strings do not need quotes, nor arrays brackets.
func parseValue(t reflect.Type, text string) (any, error) {
	raw, err := parseTOML(text)
	switch t.Kind() {
	case reflect.String:
		if _, ok := raw.(string); !ok {
			return text, nil
		}
	case reflect.Float64:
		if x, numeric := strconv.ParseFloat(text, 64); err != nil && numeric == nil { // TOML requires a digit before the point
			return x, nil
		}
	case reflect.Slice:
		if _, ok := array(raw); ok {
			break
		}
		if t.Elem().Kind() != reflect.String {
			return parseTOML("[" + text + "]")
		}
		words := []any{}
		for w := range strings.SplitSeq(strings.Trim(text, "[]"), ",") {
			words = append(words, strings.Trim(strings.TrimSpace(w), `"'`))
		}
		return words, nil
	}
	return raw, err
}

// parseTOML parses one TOML value.
func parseTOML(text string) (any, error) {
	if err := checkDepth("value", text); err != nil {
		return nil, err
	}
	var raw map[string]any
	if _, err := toml.Decode("value = "+text, &raw); err != nil {
		return nil, err
	}
	if len(raw) != 1 { // another key follows on a new line
		return nil, errors.New("more than one value")
	}
	return raw["value"], nil
}
