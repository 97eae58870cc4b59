package runs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Folders lists the names of the folders in root, which hold runs or studies. It
// leaves out files, and names that begin with a dot, which are of folders that are
// being created or deleted. A dangling link is in the list, so that reading it gives
// an error. If root does not exist, the list is empty.
func Folders(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name()[0] == '.' {
			continue
		}
		info, err := os.Stat(filepath.Join(root, e.Name())) // through links
		if err != nil || info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
