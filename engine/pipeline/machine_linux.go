package pipeline

import (
	"time"

	"golang.org/x/sys/unix"
)

// processorSeconds is the time that all cores have worked for this process.
func processorSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
