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

// IsPath reports whether the value of a key is the path of a file or a folder. Loading a
// configuration makes such values absolute.
func IsPath(key string) bool {
	s := lookup(key)
	return s != nil && s.Path
}

// Absolute makes a path from a user absolute. As in a shell, "~" is the user's home
// folder and "~name" that of another user; "./~name" is a folder whose name begins with
// a tilde. A relative path is relative to dir, or to the working directory if dir is "".
func Absolute(path, dir string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	if strings.HasPrefix(path, "~") {
		name, rest, _ := strings.Cut(path[1:], "/")
		home, err := homeDir(name)
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	abs, err := filepath.Abs(filepath.Join(dir, path))
	if err != nil {
		return "", fmt.Errorf("%s is relative, and the working directory cannot be found: %w", path, err)
	}
	return abs, nil
}

// homeDir returns the home folder of the user called name; "" is the user who runs the
// program.
func homeDir(name string) (string, error) {
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("cannot expand ~: %w; write the whole path", err)
		}
		return home, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", fmt.Errorf("cannot expand ~%s: %w; write the whole path, or ./~%s for a folder of that name", name, err, name)
	}
	return u.HomeDir, nil
}

// absolute makes the value of a path key absolute. from is the file that contains the
// value, or nil for a flag.
func absolute(value string, from *file) (path, warning string, err error) {
	switch {
	case from == nil || !from.onDisk: // embedded presets have no folder
		path, err = Absolute(value, "")
	case value != "" && !filepath.IsAbs(value) && from.generated():
		return from.legacyPath(value)
	default:
		path, err = Absolute(value, from.dir)
	}
	return path, "", err
}

// generated reports whether the program wrote the file, as config.toml of a run or for a
// cell of a study.
func (f *file) generated() bool {
	neighbour := filepath.Join(f.dir, "events.jsonl")
	if filepath.Base(f.shown) != "config.toml" {
		neighbour = filepath.Join(f.dir, "..", "study.json")
	}
	_, err := os.Stat(neighbour)
	return err == nil
}

// legacyPath makes a relative path in a generated file absolute. Earlier versions wrote
// paths as the user typed them, relative to the working directory of that time. legacyPath
// tries the current working directory, then the folder that contains the folder of runs,
// then the run's folder. It returns the first path that exists, or the first of the three.
func (f *file) legacyPath(value string) (path, warning string, err error) {
	run, err := filepath.Abs(f.dir)
	if err != nil {
		return "", "", err
	}
	if filepath.Base(f.shown) != "config.toml" { // runs/studies/<id>/cells: like a run's in runs/<id>
		run = filepath.Dir(filepath.Dir(run))
	}
	path, err = filepath.Abs(value)
	if err != nil {
		return "", "", err
	}
	for _, dir := range []string{filepath.Dir(filepath.Dir(run)), run} {
		if candidate := filepath.Join(dir, value); !exists(path) && exists(candidate) {
			path = candidate
		}
	}
	return path, fmt.Sprintf("%q is relative; using %s. Write the absolute path in the file to be sure", value, path), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// anchorSets makes paths absolute that are values in changes of the form "key=value". They
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
			continue // Load will report the problem
		}
		if path, err = Absolute(path, dir); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		sets[i] = key + "=" + Quote(path)
	}
	return sets, nil
}
