package presets

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"hatchery/engine/printable"
)

//go:embed *.toml
var embedded embed.FS

// base is what every chain of extends ends in, written or not: DeiT's recipe.
const base = "deit"

// maxFile is far above any preset; it keeps a wrong path from filling memory.
const maxFile = 1 << 20

// Load reads an experiment: the name of a preset, or the path of a TOML file
// (whatever ends in .toml or holds a path separator), with --set flags of the
// form "modules.k=8" laid over it.
//
// A file may extend another one, by preset name or by a path relative to
// itself; one that extends nothing extends "deit". The chain is laid together
// key by key, first extended first and flags last; an array replaces an array.
// A schedule counts as the two epochs it stands for, in the layer that holds
// it. Only then does each stage take from [train] the keys that no layer gave
// to the stage itself: what a parent says of one stage outlives what a child
// says of all. A [train] key that could reach no stage for that reason is an
// error, not a silence. The keys name, title and notes are a file's own and
// not inherited; a file without a name is called as it is stored.
//
// Paths are made absolute (see [Absolute]): in a file they are relative to its
// folder, in a flag to the working directory.
//
// A complete file, as [Config.TOML] writes it for a run, takes nothing from the present
// presets. A key that it lacks was introduced after the file was written, and gets the
// value that keeps the program's earlier behaviour.
//
// Load finds unknown keys, wrong types, keys that nobody gave and contradicting
// schedules; what it returns for them is a [Problems]. Whether the values make
// sense together is for [Config.Validate].
func Load(nameOrPath string, sets []string) (*Config, error) {
	chain, err := readChain(nameOrPath)
	if err != nil {
		return nil, err
	}
	top := chain[len(chain)-1]
	if s, ok := top.layer["abstract"]; ok && s.value.Bool() {
		return nil, fmt.Errorf("%s: %s is a base for other presets, not an experiment; name one that extends it (%s)",
			s.at.where, top.name, strings.Join(loadable(), ", "))
	}
	flags, err := parseSets(sets)
	if err != nil {
		return nil, err
	}
	return resolve(chain, flags)
}

// file is one layer of a chain with what names it.
type file struct {
	id    string // tells files apart
	shown string // in messages
	name  string // of the preset, if the file itself gives none
	dir   string // to which a relative path in extends refers
	path  bool   // it is a file of its own, not embedded
	layer layer
}

// parsed keeps the layers of embedded presets by their names: they do not
// change, and many are read again and again as what others extend.
var parsed sync.Map

// parse reads the text of a file. Nobody may write to the layer it returns.
func (f *file) parse(src string) (layer, error) {
	if f.path {
		return parseFile(f.shown, src)
	}
	if l, ok := parsed.Load(f.name); ok {
		return l.(layer), nil
	}
	l, err := parseFile(f.shown, src)
	if err == nil {
		parsed.Store(f.name, l)
	}
	return l, err
}

// readChain reads a file and what it extends, first extended first.
func readChain(ref string) ([]file, error) {
	var chain []file // nearest first while it grows
	at := ""         // where ref was written
	for dir := "."; ; {
		f, src, err := open(ref, dir)
		if err != nil {
			if at != "" {
				return nil, fmt.Errorf("%s: extends = %q: %w", at, ref, err)
			}
			return nil, err
		}
		for i, seen := range chain {
			if seen.id == f.id {
				var names []string
				for _, c := range chain[i:] {
					names = append(names, c.shown)
				}
				return nil, fmt.Errorf("%s: extends = %q closes a cycle: %s -> %s; let one of them extend nothing",
					at, ref, strings.Join(names, " -> "), f.shown)
			}
		}
		if f.layer, err = f.parse(src); err != nil {
			return nil, err
		}
		chain = append(chain, f)

		s, given := f.layer["extends"]
		switch {
		case given && s.value.String() != "":
			ref, at = s.value.String(), s.at.where
		case f.id == base:
			slices.Reverse(chain)
			return chain, nil
		default:
			if f.layer.complete() {
				chain = append(chain, file{id: "before", shown: f.shown, layer: before})
			}
			ref, at = base, f.shown
		}
		dir = f.dir
	}
}

// isPath tells the path of a file from the name of a preset.
func isPath(ref string) bool {
	return strings.HasSuffix(ref, ".toml") || strings.ContainsRune(ref, '/') || strings.ContainsRune(ref, filepath.Separator)
}

// open finds and reads a file. Paths are relative to dir.
func open(ref, dir string) (file, string, error) {
	if !isPath(ref) {
		src, err := Source(ref)
		return file{id: ref, shown: "presets/" + ref + ".toml", name: ref, dir: dir}, src, err
	}
	path := ref
	switch {
	case strings.HasPrefix(ref, "~") && strings.ContainsRune(ref, '/'):
		var err error
		if path, err = Absolute(ref, dir); err != nil {
			return file{}, "", err
		}
	case !filepath.IsAbs(path):
		path = filepath.Join(dir, path)
	}
	src, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		name := strings.TrimSuffix(filepath.Base(path), ".toml")
		switch {
		case slices.Contains(names(), name):
			return file{}, "", fmt.Errorf("no file %s; the preset is called %s", path, name)
		case ref == filepath.Base(ref): // the name of a preset may have been meant
			return file{}, "", fmt.Errorf("no file %s; the presets are %s", path, strings.Join(names(), ", "))
		}
		return file{}, "", fmt.Errorf("no file %s", path)
	} else if err != nil {
		return file{}, "", fmt.Errorf("reading the preset: %w", err)
	}
	// Two paths of one file close a cycle as well as one does.
	id, err := filepath.Abs(path)
	if err != nil {
		return file{}, "", fmt.Errorf("reading the preset %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(id); err == nil {
		id = real
	}
	return file{id: id, shown: path, name: nameOf(path), dir: filepath.Dir(path), path: true}, src, nil
}

// nameOf returns the name of an experiment or a study whose file gives none: the file's
// name, with characters replaced that cannot be in a folder's name.
func nameOf(path string) string {
	name := strings.Map(func(c rune) rune {
		if c == '/' || c == '\\' || c == utf8.RuneError || printable.Unsafe(c) {
			return '-'
		}
		return c
	}, strings.TrimSuffix(filepath.Base(path), ".toml"))
	if name = strings.Trim(name, ". "); name == "" {
		return "unnamed"
	}
	return name
}

func readFile(path string) (string, error) {
	// A named pipe in a folder may have no writer, so that reading it would block. A
	// shell's pipe such as /dev/fd/63 has one.
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(path, "/dev/") {
		return "", fmt.Errorf("%s is a named pipe, not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(src) > maxFile {
		return "", fmt.Errorf("%s is larger than %d kB, so it is no preset", path, maxFile>>10)
	}
	return string(src), nil
}

// resolve lays the flags over the chain and fills a Config.
func resolve(chain []file, flags layer) (*Config, error) {
	type ranked struct {
		setting
		rank int // of its layer, later is higher
	}
	merged := map[string]ranked{}
	for rank, f := range chain {
		for key, s := range f.layer {
			if !lookup(key).PerFile || rank == len(chain)-1 {
				merged[key] = ranked{s, rank}
			}
		}
	}
	for key, s := range flags {
		merged[key] = ranked{s, len(chain)}
	}

	var problems Problems
	for _, common := range settings {
		name, ok := strings.CutPrefix(common.Key, shared+".")
		if !ok {
			continue
		}
		given, ok := merged[common.Key]
		if !ok {
			continue
		}
		taken, overridden := false, false
		for _, table := range recipeTables {
			key := joinKey(table, name)
			present, ok := merged[key]
			if !ok {
				merged[key] = given
				taken = true
			} else if present.rank > given.rank {
				overridden = true
			}
		}
		if !taken && !overridden {
			first := joinKey(recipeTables[0], name)
			problems = append(problems, Problem{Where: given.at.where, Key: common.Key,
				Reason: fmt.Sprintf("has no effect: every stage has %s of its own (%s: %s)", name, merged[first].at.where, first),
				Hint:   "set it for the stages: " + strings.Join(withSuffix(recipeTables, "."+name), ", ")})
		}
	}

	top := chain[len(chain)-1]
	c := &Config{Name: top.name, origins: map[string]origin{}}
	v := reflect.ValueOf(c).Elem()
	for _, s := range settings {
		if s.index == nil {
			continue
		}
		given, ok := merged[s.Key]
		if !ok {
			if !s.Optional {
				problems = append(problems, Problem{Where: top.shown, Key: s.Key, Reason: "not given",
					Hint: fmt.Sprintf("add it, %s, or extend a preset that has it", expected(s.typ))})
			}
			continue
		}
		value := clone(given.value)
		if s.Path {
			var from *file // nil if a flag has the value
			if given.rank < len(chain) {
				from = &chain[given.rank]
			}
			path, warning, err := absolute(given.value.String(), from)
			if err == nil && !utf8.ValidString(path) {
				err = fmt.Errorf("%q is not UTF-8, as a configuration must be; rename the folder, or make a link to it", path)
			}
			if err != nil {
				problems = append(problems, Problem{Where: given.at.where, Key: given.at.key, Value: shorten(literal(given.value)), Reason: err.Error()})
				continue
			}
			if warning != "" {
				c.warnings = append(c.warnings, fmt.Sprintf("%s: %s: %s", given.at.where, given.at.key, warning))
			}
			value = reflect.ValueOf(path)
		}
		v.FieldByIndex(s.index).Set(value)
		c.origins[s.Key] = given.at
	}
	if len(problems) > 0 {
		if len(c.Missing) > 0 { // no wonder
			return nil, fmt.Errorf("%s: %s cannot be planned or run yet: it needs %s; hatchery presets show %s has what the paper reports",
				c.origins["missing"].where, c.Name, strings.Join(c.Missing, ", "), c.Name)
		}
		return nil, problems
	}
	c.Schedule = fmt.Sprintf("%d+%d", c.Modular.Epochs, c.Finetune.Epochs)
	return c, nil
}

// clone copies a value, so that it shares no memory with the layer it comes from.
func clone(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Slice || v.IsNil() {
		return v
	}
	return reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
}

func withSuffix(words []string, suffix string) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = w + suffix
	}
	return all
}
