package runs

// Settle changes the phases of s to those of a run that is no longer running, if l
// says so. Without it, a run would seem to be running if its process was killed, or
// could not write its last event.
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
