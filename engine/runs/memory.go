package runs

import (
	"fmt"
	"runtime/debug"
)

// fitsMemory returns an error if this process cannot hold a file of the given size
// in bytes, as may be the case for a damaged or a sparse file. The limit is the
// smaller of the runtime's (GOMEMLIMIT) and the machine's memory.
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
