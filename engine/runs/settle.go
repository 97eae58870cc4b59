package runs

// Settle brings s into line with the health of its run. The events of a process
// that was killed, or could not write its last word, end in the middle, as if it
// were still running.
func (s *State) Settle(l Liveness) {
	over := Stopped
	switch l.Alive {
	case IsCrashed:
	case IsFinished:
		if p := l.Status.Phase; p == Failed || p == Finished {
			over = p
		}
	default:
		return
	}
	if s.Phase.alive() {
		if s.Phase = over; over != Stopped {
			s.Message = l.Status.Message
		}
	}
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Phase == Running {
			st.Phase = Stopped
		}
	}
}
