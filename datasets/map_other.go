//go:build !unix

package datasets

import "os"

// mapFile reads a file where it is not mapped.
func mapFile(path string) ([]byte, error) { return os.ReadFile(path) }
