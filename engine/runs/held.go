package runs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// HeldFolder is an open folder. It can be recognised after it was moved, and another
// folder at its path is not mistaken for it.
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

// Lost returns an error if the folder is no longer at its path. now is its new path,
// "" if it was deleted or if the path is not known.
func (h *HeldFolder) Lost() (now string, err error) {
	if !h.displaced() {
		return "", nil
	}
	time.Sleep(glitch)
	if !h.displaced() {
		return "", nil
	}
	path := h.folder.path()
	switch now = h.folder.now(); {
	case h.folder.deleted():
		return "", fmt.Errorf("%s was deleted", path)
	case now == "":
		return "", fmt.Errorf("%s was moved; where to cannot be told", path)
	}
	return now, fmt.Errorf("%s was moved to %s", path, now)
}

// displaced reports whether the folder is known to be no longer at its path. An error
// of a disk or a network does not prove that.
func (h *HeldFolder) displaced() bool {
	var st unix.Stat_t
	err := unix.Stat(h.folder.path(), &st)
	if err != nil {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	}
	return identify(&st) != h.folder.id
}
