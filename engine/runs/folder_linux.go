package runs

import (
	"fmt"
	"os"
)

// openedPath returns the present path of an open file, "" if it is not known. The
// path of a deleted file ends in " (deleted)".
func openedPath(f *os.File) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return ""
	}
	return path
}
