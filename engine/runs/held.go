package runs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// HeldFolder is an open folder. It notices when the folder is moved, deleted or replaced.
type HeldFolder struct{ folder *folder }

// HoldFolder opens the folder at path.
func HoldFolder(path string) (*HeldFolder, error) {
	f, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	return &HeldFolder{f}, nil
}

// Close closes the folder.
func (h *HeldFolder) Close() error { return h.folder.close() }

// Lost returns an error if the folder is no longer at its path. newPath is its new path, ""
// if the folder was deleted or the path is unknown.
func (h *HeldFolder) Lost() (newPath string, err error) {
	if !h.displaced() {
		return "", nil
	}
	time.Sleep(glitch)
	if !h.displaced() {
		return "", nil
	}
	path := h.folder.path()
	switch newPath = h.folder.currentPath(); {
	case h.folder.deleted():
		return "", fmt.Errorf("%s was deleted", path)
	case newPath == "":
		return "", fmt.Errorf("%s was moved; its new path is unknown", path)
	}
	return newPath, fmt.Errorf("%s was moved to %s", path, newPath)
}

// displaced reports whether the folder is certainly no longer at its path. Errors of the
// disk or the network do not prove that.
func (h *HeldFolder) displaced() bool {
	var st unix.Stat_t
	err := unix.Stat(h.folder.path(), &st)
	if err != nil {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	}
	return identify(&st) != h.folder.id
}
