package pipeline

import "time"

// timeSpent is the duration of some work.
type timeSpent struct {
	seconds float64 // elapsed time, seconds
	cpu     float64 // CPU time of this process, seconds, summed over all cores
}

func (s timeSpent) add(t timeSpent) timeSpent { return timeSpent{s.seconds + t.seconds, s.cpu + t.cpu} }

// stopwatch measures the time between laps.
type stopwatch struct {
	time time.Time
	cpu  float64
}

func startStopwatch() *stopwatch { return &stopwatch{time.Now(), cpuSeconds()} }

// lap returns the time since the last lap.
func (w *stopwatch) lap() timeSpent {
	now, cpu := time.Now(), cpuSeconds()
	s := timeSpent{now.Sub(w.time).Seconds(), cpu - w.cpu}
	w.time, w.cpu = now, cpu
	return s
}
