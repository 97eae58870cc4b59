package watch

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what a process takes of this machine; zero where that cannot be
// told.
type Usage struct {
	Memory int64   // resident, bytes
	Cores  float64 // busy on average since the last look
}

// meter reads the usage of a process from Linux's /proc.
type meter struct {
	pid   int
	at    time.Time
	ticks float64 // of CPU time up to at
}

// ticksASecond is Linux's USER_HZ, the same on all its architectures that Go
// runs on.
const ticksASecond = 100

func (m *meter) read(pid int, now time.Time) (u Usage) {
	if pid != m.pid {
		*m = meter{pid: pid}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	// The second field is the program's name in brackets, which may hold
	// anything; the fields that follow are numbers, the third of all first.
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
	if passed := now.Sub(m.at).Seconds(); !m.at.IsZero() && passed > 0 {
		u.Cores = max(0, ticks-m.ticks) / ticksASecond / passed
	}
	m.at, m.ticks = now, ticks
	return u
}
