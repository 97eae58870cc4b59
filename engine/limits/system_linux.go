package limits

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var here = system{os.DirFS("/")}

func memories() []Memory {
	status := here.read("/proc/self/status")
	held := kibibytes(status, "RssAnon")
	all := here.memory(held)
	if free := kibibytes(here.read("/proc/meminfo"), "MemAvailable"); free > 0 {
		all = append(all, Memory{Bytes: free + held, From: "what the machine has free", Raise: "end other programs on this machine"})
	}
	for _, l := range []struct {
		resource int
		name     string
		used     string // in /proc/self/status
		flag     string
	}{
		{unix.RLIMIT_AS, "RLIMIT_AS", "VmSize", "-v"},
		{unix.RLIMIT_DATA, "RLIMIT_DATA", "VmData", "-d"},
	} {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.resource, &r); err != nil || r.Cur >= unlimited {
			continue
		}
		limit := int64(r.Cur)
		all = append(all, Memory{
			Bytes: max(0, limit-kibibytes(status, l.used)) + held,
			From:  fmt.Sprintf("%s = %d of this process", l.name, limit),
			Raise: fmt.Sprintf("raise the limit with ulimit %s (in KiB)", l.flag),
		})
	}
	return all
}

// machineMemory returns how much memory and swap space the machine has, in bytes, 0 if
// that is not known.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return (int64(info.Totalram) + int64(info.Totalswap)) * int64(info.Unit)
}

// Quota returns the limit on processor time, and false if there is none.
func Quota() (Processors, bool) { return here.quota() }

func availableDisk(dir string) int64 {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0
	}
	for {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil {
			return int64(s.Bavail) * s.Bsize
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
}
