package pipeline

import "time"

// spent is the time that work took.
type spent struct {
	seconds float64 // on the clock
	cpu     float64 // seconds of all cores of this process
}

func (s spent) plus(t spent) spent { return spent{s.seconds + t.seconds, s.cpu + t.cpu} }

// watch measures the time between laps.
type watch struct {
	at  time.Time
	cpu float64
}

func startWatch() *watch { return &watch{time.Now(), processorSeconds()} }

// lap returns what was spent since the last lap.
func (w *watch) lap() spent {
	now, cpu := time.Now(), processorSeconds()
	s := spent{now.Sub(w.at).Seconds(), cpu - w.cpu}
	w.at, w.cpu = now, cpu
	return s
}
