// Package limits determines how much memory, CPU time and disk space this process may use,
// and makes the Go runtime respect these limits.
//
// A container, a Slurm job, a systemd unit or a shell's ulimit may allow the process less
// than the machine has.
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
	// Bytes is the total memory that the process may use, including what it already uses.
	Bytes int64
	// From names the source of the bound: "memory.max = 2147483648 of
	// /sys/fs/cgroup/job, a cgroup v2".
	From string
	// Raise tells how to raise the bound.
	Raise string
}

// Memories returns the known bounds on the memory of this process, tightest first. Only
// bounds on Linux are known.
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

// Ceiling returns the largest amount of memory in bytes that this process can ever have: the
// smaller of the Go runtime's limit and the machine's memory including swap space. Unlike
// Available, it ignores the memory that other programs use at the moment.
func Ceiling() int64 {
	ceiling := debug.SetMemoryLimit(-1)
	if machine := machineMemory(); machine > 0 {
		ceiling = min(ceiling, machine)
	}
	return ceiling
}

// CPUQuota is a bound on the CPU time of this process.
type CPUQuota struct {
	Cores float64 // CPU seconds per second
	From  string  // as in Memory
}

// Disk returns the free space in bytes of the file system that contains dir, or will contain
// it, 0 if that is unknown.
func Disk(dir string) int64 { return availableDisk(dir) }

// Reserved is the percentage of the memory that Apply does not give to the Go runtime. It is
// left for libraries, the GPU driver and its pinned buffers, and the kernel's memory for the
// process.
const Reserved = 10 // %

// Apply makes the Go runtime respect the limits of this process: it sets the memory limit
// and GOMAXPROCS, unless GOMEMLIMIT or GOMAXPROCS is set in the environment. Call it once,
// when the program starts.
func Apply() {
	if os.Getenv("GOMAXPROCS") == "" {
		// The runtime considers only the process's own cgroup, and not its ancestors,
		// in which systemd slices and Slurm jobs have their quotas. As in the runtime,
		// the minimum is two threads, so that one can collect garbage.
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

// GoMemory returns the Go runtime's memory limit in bytes, 0 if there is none, and whether
// it was set in the environment.
func GoMemory() (limit int64, environment bool) {
	if limit = debug.SetMemoryLimit(-1); limit == math.MaxInt64 {
		limit = 0
	}
	return limit, os.Getenv("GOMEMLIMIT") != ""
}
