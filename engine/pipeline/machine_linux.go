package pipeline

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuSeconds returns the CPU time that this process has used, summed over all cores.
func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
