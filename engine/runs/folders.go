package runs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Folders lists the folders in root, which hold runs or studies, by their names.
// Left out are files, and names that begin with a dot: what is being made, and
// what is being deleted. What cannot be told from a folder, such as a link to
// one that is gone, is in the list, for whoever reads it to say so. Of a root
// that does not exist there are none.
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
