package datasets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// findFiles returns the first folder that has all the files, and their paths, with or
// without ".gz". It searches the root if one is given, otherwise the set's default
// folders.
func findFiles(d *dataset, root string, names []string) (dir string, paths map[string]string, err error) {
	return find(d, root, func(dir string) (map[string]string, []string, error) {
		paths := map[string]string{}
		var missing []string
		for _, name := range names {
			path, err := findFile(filepath.Join(dir, name))
			if err != nil {
				return nil, nil, err
			}
			if path == "" {
				missing = append(missing, name+"[.gz]")
			}
			paths[name] = path
		}
		return paths, missing, nil
	})
}

// find calls locate for the root, or without one for each default folder, until nothing
// is missing. locate returns the names of what a folder lacks.
func find[T any](d *dataset, root string, locate func(dir string) (found T, missing []string, err error)) (string, T, error) {
	dirs := []string{root}
	if root == "" {
		dirs = defaultFolders(d.info.Name)
	}
	var none T
	var failures []string
	for _, dir := range dirs {
		found, missing, err := locate(dir)
		if err != nil {
			return "", none, err
		}
		if len(missing) == 0 {
			return dir, found, nil
		}
		switch info, err := os.Stat(dir); {
		case errors.Is(err, fs.ErrNotExist):
			failures = append(failures, dir+" does not exist")
		case err == nil && !info.IsDir():
			failures = append(failures, dir+" is not a folder")
		default:
			failures = append(failures, dir+" lacks "+strings.Join(missing, ", "))
		}
	}
	return "", none, missingError(strings.Join(failures, "; ") + "; " + d.hint)
}

// missingError lists the folders that were searched. It matches fs.ErrNotExist.
type missingError string

func (e missingError) Error() string        { return string(e) }
func (e missingError) Is(target error) bool { return target == fs.ErrNotExist }

// findFile returns the path of a file or of its compressed form, or "" if neither exists.
func findFile(path string) (string, error) {
	for _, p := range []string{path, path + ".gz"} {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		// ENOTDIR: the root is a file, not a folder.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", err
		}
	}
	return "", nil
}

// defaultFolders returns the folders that are searched for the files of a set: the user's
// data folder (XDG base directories), then the one into which Debian installs data sets.
func defaultFolders(name string) []string {
	var dirs []string
	if home, err := Home(name); err == nil {
		dirs = append(dirs, home)
	}
	return append(dirs, filepath.Join("/usr/share/datasets", name))
}

// Home returns the folder of a data set in the user's data folder: the first default
// folder, and the one that sets are fetched into. It need not exist.
func Home(name string) (string, error) {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the XDG specification: ignore relative paths
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "hatchery", name), nil
}
