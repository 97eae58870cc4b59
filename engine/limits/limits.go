// Package limits finds out how much memory, processor time and disk space this
// process may use, and makes the Go runtime keep to that.
//
// A container, a Slurm job, a systemd unit or a shell's ulimit may allow the process
// less than the machine has.
package limits

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
)

// Memory is a bound on the memory of this process.
type Memory struct {
	// Bytes is what the process may have in all, including what it has already.
	Bytes int64
	// From names what sets the bound: "memory.max = 2147483648 of
	// /sys/fs/cgroup/job, a cgroup v2".
	From string
	// Raise says how to raise the bound.
	Raise string
}

// Memories returns the known bounds on the memory of this process, tightest first.
// There are none on systems other than Linux.
func Memories() []Memory {
	all := memories()
	slices.SortStableFunc(all, func(a, b Memory) int { return int(min(max(a.Bytes-b.Bytes, -1), 1)) })
	return all
}

// Available returns the tightest of Memories, and false if there is none.
func Available() (Memory, bool) {
	if all := Memories(); len(all) > 0 {
		return all[0], true
	}
	return Memory{}, false
}

// Ceiling returns the most memory in bytes that this process can ever have: the smaller
// of the Go runtime's limit and the machine's memory with its swap space. What other
// programs hold at the moment does not count, unlike in Available.
func Ceiling() int64 {
	ceiling := debug.SetMemoryLimit(-1)
	if machine := machineMemory(); machine > 0 {
		ceiling = min(ceiling, machine)
	}
	return ceiling
}

// Processors is a bound on the processor time of this process.
type Processors struct {
	Cores float64
	From  string // as in Memory
}

// Disk returns the free space in bytes of the file system that dir is or will be on,
// 0 if that is not known.
func Disk(dir string) int64 { return availableDisk(dir) }

// Reserved is the share of the memory that Apply does not give to the Go runtime. It
// is for libraries, a GPU's driver and the buffers that it pins, and what the kernel
// keeps for the process.
const Reserved = 10 // %

// Apply makes the Go runtime keep to the limits of this process: it sets the memory
// limit and the number of processors, unless GOMEMLIMIT or GOMAXPROCS is set in the
// environment. Call it once, when the program starts.
func Apply() {
	if os.Getenv("GOMAXPROCS") == "" {
		// The runtime looks at the process's own cgroup only, and not at those above
		// it, in which systemd slices and Slurm jobs have their quotas. Like the
		// runtime, it uses at least two threads, so that one can collect garbage.
		if p, ok := Quota(); ok {
			if n := max(2, int(math.Ceil(p.Cores))); n < runtime.GOMAXPROCS(0) {
				runtime.GOMAXPROCS(n)
			}
		}
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if m, ok := Available(); ok {
			debug.SetMemoryLimit(m.Bytes - m.Bytes*Reserved/100)
		}
	}
}

// GoMemory returns the Go runtime's memory limit in bytes, 0 if there is none, and
// whether it comes from the environment.
func GoMemory() (limit int64, environment bool) {
	if limit = debug.SetMemoryLimit(-1); limit == math.MaxInt64 {
		limit = 0
	}
	return limit, os.Getenv("GOMEMLIMIT") != ""
}
