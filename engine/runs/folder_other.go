//go:build !linux

package runs

import "os"

// pathOf returns "": the path is unknown on this system.
func pathOf(*os.File) string { return "" }
