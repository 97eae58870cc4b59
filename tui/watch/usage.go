package watch

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is the memory and CPU use of a process on this machine. Fields are 0 if unknown.
type Usage struct {
	Memory int64   // resident, bytes
	Cores  float64 // CPU cores in use, on average since the last reading
}

// meter reads the usage of a process from Linux's /proc.
type meter struct {
	pid   int
	time  time.Time // of the last reading
	ticks float64   // CPU time at that time
}

// ticksPerSecond is Linux's USER_HZ, which is the same on all architectures that Go
// supports.
const ticksPerSecond = 100

func (m *meter) read(pid int, now time.Time) (u Usage) {
	if pid != m.pid {
		*m = meter{pid: pid}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	// The second field is the program's name in parentheses, which may contain any
	// character. fields starts with the third field.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	number := func(field int) float64 {
		if field-3 >= len(fields) {
			return 0
		}
		x, _ := strconv.ParseFloat(string(fields[field-3]), 64)
		return x
	}
	const utime, stime, rss = 14, 15, 24 // proc(5)
	u.Memory = int64(number(rss)) * int64(os.Getpagesize())
	ticks := number(utime) + number(stime)
	if elapsed := now.Sub(m.time).Seconds(); !m.time.IsZero() && elapsed > 0 {
		u.Cores = max(0, ticks-m.ticks) / ticksPerSecond / elapsed
	}
	m.time, m.ticks = now, ticks
	return u
}
