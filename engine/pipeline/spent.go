package pipeline

import "time"

// spent is what work took.
type spent struct {
	seconds float64 // on the clock
	cpu     float64 // seconds of all cores of this process
}

func (s spent) plus(t spent) spent { return spent{s.seconds + t.seconds, s.cpu + t.cpu} }

// watch measures from lap to lap.
type watch struct {
	at  time.Time
	cpu float64
}

func startWatch() *watch { return &watch{time.Now(), processorSeconds()} }

// lap is what was spent since the last one.
func (w *watch) lap() spent {
	now, cpu := time.Now(), processorSeconds()
	s := spent{now.Sub(w.at).Seconds(), cpu - w.cpu}
	w.at, w.cpu = now, cpu
	return s
}
