package runs

import (
	"fmt"
	"runtime/debug"
)

// fitsMemory returns an error if a file of the given size in bytes cannot be
// held by this process, whatever its header promises: a damaged file, or one
// that is mostly holes. The limit is the runtime's (GOMEMLIMIT) or, where that is
// not set, what the machine has.
func fitsMemory(size int64) error {
	limit := debug.SetMemoryLimit(-1)
	if machine := machineMemory(); machine > 0 {
		limit = min(limit, machine)
	}
	if size <= limit {
		return nil
	}
	const gib = 1 << 30
	return fmt.Errorf("the file has %.1f GiB, more than the %.1f GiB of memory that this process can have: it is damaged, or needs a machine with more memory",
		float64(size)/gib, float64(limit)/gib)
}
