package runs

import (
	"fmt"
	"os"
)

// openedPath is the present path of an open file, "" if it cannot be told. It
// ends in " (deleted)" if there is none.
func openedPath(f *os.File) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return ""
	}
	return path
}
