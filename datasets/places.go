package datasets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// findFiles returns the first folder that has all the files and the path of each
// there, as it is or with ".gz": the root if one is given, else one of the usual
// places of the set.
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

// find asks each place where a set may be, the root or else the usual ones, until
// one has what is looked for. look says what is missing there.
func find[T any](d *dataset, root string, look func(dir string) (found T, missing []string, err error)) (string, T, error) {
	places := []string{root}
	if root == "" {
		places = usualPlaces(d.info.Name)
	}
	var none T
	var looked []string
	for _, dir := range places {
		found, missing, err := look(dir)
		if err != nil {
			return "", none, err
		}
		if len(missing) == 0 {
			return dir, found, nil
		}
		switch info, err := os.Stat(dir); {
		case errors.Is(err, fs.ErrNotExist):
			looked = append(looked, dir+" does not exist")
		case err == nil && !info.IsDir():
			looked = append(looked, dir+" is not a folder")
		default:
			looked = append(looked, dir+" lacks "+strings.Join(missing, ", "))
		}
	}
	return "", none, missingError(strings.Join(looked, "; ") + "; " + d.getIt)
}

// missingError says where files were looked for. It is fs.ErrNotExist.
type missingError string

func (e missingError) Error() string        { return string(e) }
func (e missingError) Is(target error) bool { return target == fs.ErrNotExist }

// findFile is the path of a file as it is or compressed, "" if there is neither.
func findFile(path string) (string, error) {
	for _, p := range []string{path, path + ".gz"} {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		// A root that is a file, not a folder, has no files in it.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", err
		}
	}
	return "", nil
}

// usualPlaces is where the files of a set are looked for: the user's own data
// folder (XDG base directories), then where Debian installs data sets.
func usualPlaces(name string) []string {
	var places []string
	if home, err := Home(name); err == nil {
		places = append(places, home)
	}
	return append(places, filepath.Join("/usr/share/datasets", name))
}

// Home is the folder of a data set among the user's own data, the first of the
// usual places and the one that sets are fetched into. It need not exist.
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
