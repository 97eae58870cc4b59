//go:build !linux

package pipeline

import "time"

var started = time.Now()

// processorSeconds is the time on the clock, which stands in for that of the
// processor.
func processorSeconds() float64 { return time.Since(started).Seconds() }
