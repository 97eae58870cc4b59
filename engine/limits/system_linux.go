package limits

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var root = system{os.DirFS("/")}

func memories() []Memory {
	status := root.read("/proc/self/status")
	held := kibibytes(status, "RssAnon")
	all := root.memory(held)
	if free := kibibytes(root.read("/proc/meminfo"), "MemAvailable"); free > 0 {
		all = append(all, Memory{Bytes: free + held, From: "the machine's free memory", Raise: "end other programs on this machine"})
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

// machineMemory returns the size of the machine's memory and swap space in bytes, 0 if that
// is unknown.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return (int64(info.Totalram) + int64(info.Totalswap)) * int64(info.Unit)
}

// Quota returns the CPU quota, and false if there is none.
func Quota() (CPUQuota, bool) { return root.quota() }

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
