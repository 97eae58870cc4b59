package runs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// HeldFolder is a folder held open, so that it is known again wherever it is
// moved to, and no other folder is taken for it.
type HeldFolder struct{ folder *folder }

// HoldFolder holds the folder that is at path now, until Close.
func HoldFolder(path string) (*HeldFolder, error) {
	f, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	return &HeldFolder{f}, nil
}

// Close lets go of the folder.
func (h *HeldFolder) Close() error { return h.folder.close() }

// Lost says what became of the folder if it is not at its path any more, and
// now is where it has been moved to, "" if it was deleted or that cannot be
// told. The error is nil while the folder is in its place.
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

// displaced says whether the folder is known not to be at its path. A disk or a
// network that does not answer says nothing of it.
func (h *HeldFolder) displaced() bool {
	var st unix.Stat_t
	err := unix.Stat(h.folder.path(), &st)
	if err != nil {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	}
	return identify(&st) != h.folder.id
}
