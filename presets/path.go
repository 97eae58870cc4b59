package presets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// IsPath says whether a key of the configuration names a file or a folder. Such
// keys have the tag `path:"yes"` in [Config]; their values are absolute once a
// configuration is loaded.
func IsPath(key string) bool {
	f := lookup(key)
	return f != nil && f.path
}

// Absolute makes a path that a user gave absolute: "~" is the user's own home
// folder and "~name" that of another, as in a shell, and what is relative is
// relative to dir, or to the working directory if that is "". Write "./~name"
// for a folder whose name begins with a tilde.
func Absolute(path, dir string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	if strings.HasPrefix(path, "~") {
		name, rest, _ := strings.Cut(path[1:], "/")
		home, err := homeOf(name)
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	abs, err := filepath.Abs(filepath.Join(dir, path))
	if err != nil {
		return "", fmt.Errorf("the working directory, to which %s is relative, cannot be found: %w", path, err)
	}
	return abs, nil
}

// homeOf is the home folder of a user, "" for the one who runs the program.
func homeOf(name string) (string, error) {
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("~ is not known: %w; write the path out", err)
		}
		return home, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", fmt.Errorf("~%s is not known: %w; write the path out, or ./~%s for a folder of that name", name, err, name)
	}
	return u.HomeDir, nil
}

// absolute is the value of a key that is a path, made absolute. from is the file
// that has the value, nil for the command line.
func absolute(value string, from *file) (path, warning string, err error) {
	switch {
	case from == nil || !from.path: // what is part of the program has no folder
		path, err = Absolute(value, "")
	case value != "" && !filepath.IsAbs(value) && from.kept():
		return from.keptPath(value)
	default:
		path, err = Absolute(value, from.dir)
	}
	return path, "", err
}

// kept says whether the program wrote the file: as config.toml of a run, beside
// its events, or for a cell of a study.
func (f *file) kept() bool {
	beside := filepath.Join(f.dir, "events.jsonl")
	if filepath.Base(f.shown) != "config.toml" {
		beside = filepath.Join(f.dir, "..", "study.json")
	}
	_, err := os.Stat(beside)
	return err == nil
}

// keptPath finds what a relative path stands for that is in a file that the
// program wrote. It writes absolute ones now, but did not always: then they are as
// they were typed, relative to the working directory of those days. That is the
// present one, if it has such a file or folder, or else that of the
// runs folder, from which runs are started by default.
func (f *file) keptPath(value string) (path, warning string, err error) {
	run, err := filepath.Abs(f.dir)
	if err != nil {
		return "", "", err
	}
	if filepath.Base(f.shown) != "config.toml" { // runs/studies/<id>/cells: like a run's in runs/<id>
		run = filepath.Dir(filepath.Dir(run))
	}
	here, err := filepath.Abs(value)
	if err != nil {
		return "", "", err
	}
	path = here
	if there := filepath.Join(filepath.Dir(filepath.Dir(run)), value); !exists(here) && exists(there) {
		path = there
	}
	return path, fmt.Sprintf("%q is relative, because an earlier version of hatchery wrote it as it was typed; it is taken to mean %s: if that is wrong, write the whole path there", value, path), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// anchorSets makes the paths in changes of the form "key=value" absolute, which
// are relative to the folder dir.
func anchorSets(sets []string, dir string) ([]string, error) {
	sets = slices.Clone(sets)
	for i, set := range sets {
		key, text, found := strings.Cut(set, "=")
		key = strings.TrimSpace(key)
		if !found || !IsPath(key) {
			continue
		}
		value, err := parseValue(lookup(key).typ, strings.TrimSpace(text))
		path, ok := value.(string)
		if err != nil || !ok {
			continue // Load finds out what is wrong with it
		}
		if path, err = Absolute(path, dir); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		sets[i] = key + "=" + Quote(path)
	}
	return sets, nil
}
