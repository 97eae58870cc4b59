//go:build !linux

package pipeline

import "time"

var started = time.Now()

// cpuSeconds returns the time since the start of the program, as a substitute for its CPU
// time.
func cpuSeconds() float64 { return time.Since(started).Seconds() }
