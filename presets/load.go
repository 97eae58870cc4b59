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

// base is the preset in which every chain of extends ends, explicitly or not: DeiT's
// recipe.
const base = "deit"

// maxFile limits the bytes of a file. It is far above any preset, and keeps a wrong path
// from filling memory.
const maxFile = 1 << 20

// Load reads an experiment: the name of a preset, or the path of a TOML file (anything
// that ends in .toml or contains a path separator). It applies --set flags of the form
// "modules.k=8" to it.
//
// A file may extend another, by preset name or by a path relative to itself; a file
// without extends extends "deit". Load merges the files of this chain key by key: a file
// overrides the one that it extends, and the flags override all files. An array replaces
// an array. A schedule stands for its two numbers of epochs, in the file that contains
// it. After that, each stage takes from [train] the keys that no file set for the stage
// itself: a parent's value for one stage overrides a child's value for all stages. It is
// an error if a [train] key has no effect for this reason. The keys name, title and notes
// are not inherited; a file without a name is called after its file name.
//
// Paths are made absolute (see [Absolute]): in a file they are relative to its
// folder, in a flag to the working directory.
//
// A complete file, as [Config.TOML] writes it for a run, takes nothing from the current
// presets. A key that it lacks was introduced after the file was written, and gets the
// value that keeps the program's earlier behaviour.
//
// For unknown keys, wrong types, missing keys and contradictory schedules, Load returns a
// [Problems]. It does not check the values: see [Config.Validate].
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

// file is one layer of a chain of extends, with the file's names.
type file struct {
	id     string // unique
	shown  string // in messages
	name   string // of the preset, unless the file sets one
	dir    string // folder to which a path in extends is relative
	onDisk bool   // rather than embedded
	layer  layer
}

// parsed caches the layers of embedded presets by name, since many presets extend the
// same ones.
var parsed sync.Map

// parse parses the text of a file. Callers must not modify the layer, which may be shared.
func (f *file) parse(src string) (layer, error) {
	if f.onDisk {
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

// readChain reads a file and those that it extends, the base first.
func readChain(ref string) ([]file, error) {
	var chain []file // the base last, while it grows
	at := ""         // position of the extends that names ref
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
				return nil, fmt.Errorf("%s: extends = %q forms a cycle: %s -> %s; remove extends from one of them",
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
				chain = append(chain, file{id: "legacy", shown: f.shown, layer: legacy})
			}
			ref, at = base, f.shown
		}
		dir = f.dir
	}
}

// isPath reports whether ref is the path of a file rather than the name of a preset.
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
	// A cycle may name a file by two paths.
	id, err := filepath.Abs(path)
	if err != nil {
		return file{}, "", fmt.Errorf("reading the preset %s: %w", path, err)
	}
	if resolved, err := filepath.EvalSymlinks(id); err == nil {
		id = resolved
	}
	return file{id: id, shown: path, name: nameOf(path), dir: filepath.Dir(path), onDisk: true}, src, nil
}

// nameOf returns the default name of an experiment or a study: its file's name, with
// characters that a folder's name cannot contain replaced by hyphens.
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
		return "", fmt.Errorf("%s is larger than %d kB, too large for a preset or a study", path, maxFile>>10)
	}
	return string(src), nil
}

// resolve merges the chain and the flags into a Config.
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
		used, overridden := false, false
		for _, table := range recipeTables {
			key := joinKey(table, name)
			specific, ok := merged[key]
			if !ok {
				merged[key] = given
				used = true
			} else if specific.rank > given.rank {
				overridden = true
			}
		}
		if !used && !overridden {
			first := joinKey(recipeTables[0], name)
			problems = append(problems, Problem{Where: given.at.where, Key: common.Key,
				Reason: fmt.Sprintf("has no effect: every stage sets its own %s (%s: %s)", name, merged[first].at.where, first),
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
				problems = append(problems, Problem{Where: top.shown, Key: s.Key, Reason: "missing",
					Hint: fmt.Sprintf("set it to %s, or extend a preset that has it", expected(s.typ))})
			}
			continue
		}
		value := clone(given.value)
		if s.Path {
			var from *file // nil for a flag
			if given.rank < len(chain) {
				from = &chain[given.rank]
			}
			path, warning, err := absolute(given.value.String(), from)
			if err == nil && !utf8.ValidString(path) {
				err = fmt.Errorf("%q is not UTF-8, which a configuration must be; rename the folder, or make a link to it", path)
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
		if len(c.Missing) > 0 { // the cause of the problems
			return nil, fmt.Errorf("%s: %s cannot be planned or run yet: it needs %s; hatchery presets show %s prints the paper's numbers",
				c.origins["missing"].where, c.Name, strings.Join(c.Missing, ", "), c.Name)
		}
		return nil, problems
	}
	c.Schedule = fmt.Sprintf("%d+%d", c.Modular.Epochs, c.Finetune.Epochs)
	return c, nil
}

// clone returns a copy of a value that shares no memory with its layer.
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
