package runs

import (
	"fmt"
	"os"
)

// pathOf returns the current path of an open file, "" if it is unknown. The path of a
// deleted file ends in " (deleted)".
func pathOf(f *os.File) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return ""
	}
	return path
}
