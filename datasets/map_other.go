//go:build !unix

package datasets

import "os"

// mapFile reads a file, on systems where files are not mapped.
func mapFile(path string) ([]byte, error) { return os.ReadFile(path) }
