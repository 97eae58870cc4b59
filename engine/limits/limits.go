// Package limits finds out how much memory, how many processors and how much
// disk this process may use, and makes the Go runtime keep to that.
//
// What counts is what is left to the process, not to the machine: a container, a
// job of Slurm's, a systemd unit or a shell's ulimit may allow it less.
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
	// Bytes is what the process may have in all: what is free, and what it has
	// already.
	Bytes int64
	// From names what sets the bound: "memory.max of /sys/fs/cgroup/job, a
	// cgroup v2, 2147483648 bytes".
	From string
	// Raise says how to have more.
	Raise string
}

// Memories are the bounds on the memory of this process that can be found,
// tightest first. There are none where the system does not tell.
func Memories() []Memory {
	all := memories()
	slices.SortStableFunc(all, func(a, b Memory) int { return int(min(max(a.Bytes-b.Bytes, -1), 1)) })
	return all
}

// Available is the tightest of Memories; false if there is none.
func Available() (Memory, bool) {
	if all := Memories(); len(all) > 0 {
		return all[0], true
	}
	return Memory{}, false
}

// Processors is a bound on the processor time of this process.
type Processors struct {
	Cores float64
	From  string // as in Memory
}

// Disk is the free space of the file system that a folder is or will be on,
// bytes; 0 if that cannot be found out.
func Disk(dir string) int64 { return availableDisk(dir) }

// Reserved is the share of the memory that Apply leaves to what is not the Go
// runtime's: libraries, the driver of a GPU and buffers that it pins, what the
// kernel keeps for the process.
const Reserved = 10 // %

// Apply makes the Go runtime keep to the limits of this process: it collects
// garbage before the memory ends, and computes on no more processors than the
// process may use in the long run. Whoever sets GOMEMLIMIT or GOMAXPROCS in the
// environment has the last word. It is to be called once, when the program
// starts.
func Apply() {
	if os.Getenv("GOMAXPROCS") == "" {
		// The runtime looks at the process's own cgroup, not at those above it,
		// where a slice of systemd's or a job of Slurm's has its quota. As there,
		// two threads are the least: one collects garbage beside the other.
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

// GoMemory is how much memory the Go runtime keeps to, bytes, 0 if it is not
// limited, and whether the environment says so.
func GoMemory() (limit int64, environment bool) {
	if limit = debug.SetMemoryLimit(-1); limit == math.MaxInt64 {
		limit = 0
	}
	return limit, os.Getenv("GOMEMLIMIT") != ""
}
