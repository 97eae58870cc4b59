package runs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Folders lists the names of the folders in root, which hold runs or studies. It omits
// files, and names that begin with a dot, which belong to folders that are being created or
// deleted. It includes dangling links, so that reading them gives an error. If root does
// not exist, the list is empty.
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
		info, err := os.Stat(filepath.Join(root, e.Name())) // follows links
		if err != nil || info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
