package runs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Settle brings s into line with the health of its run, l. Without it, a run would
// seem to be running if its process was killed or could not write its last event, and
// stages would seem unfinished if the journal is damaged.
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
	if s.Phase.alive() || s.Phase == Waiting && over == Finished {
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

// Presume replaces ReadLiveness for the run in dir if its status cannot be read. It
// judges by the run's lock and by s, the state from its events. The process, its host
// and its heartbeat are not known.
func (s *State) Presume(dir string) Liveness {
	l := Liveness{Alive: IsFinished, Status: Status{Phase: s.Phase, Message: s.Message}}
	switch {
	case flocks.look(filepath.Join(dir, lockFile)) == lockHeld:
		l.Alive = IsRunning
		if !s.Phase.alive() {
			l.Status.Phase = Running
		}
	case s.Phase.alive():
		l.Alive = IsCrashed
	}
	return l
}

// TakeEnds marks every stage of s as ended that has a done file in dir, since a damaged
// journal may lack the end of a stage. It then adds one warning. Call it after Settle,
// when all events have been applied.
func (s *State) TakeEnds(dir string) {
	if len(s.Stages) == 0 {
		s.found(dir)
	}
	var lacking []string
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Phase == Finished || st.Phase == Running {
			continue
		}
		o, err := ReadOutcome(dir, st.Name)
		if err != nil || o == nil { // whoever resumes the run says what is wrong with it
			continue
		}
		if s.Phase.alive() && o.Time.After(s.Updated) {
			continue // its events were written after the journal was read
		}
		st.Phase, st.Ended, st.Results, st.Unrecorded = Finished, o.Time, o.Values, true
		st.Epoch, st.Step = o.Epoch, o.Step
		st.Epochs, st.Steps = o.Epoch, o.Step
		st.Last = nil // it is of some earlier step
		st.Checkpoint = filepath.ToSlash(filepath.Join(stagesDir, st.Name, filepath.Base(o.Checkpoint)))
		lacking = append(lacking, st.Name)
	}
	if len(lacking) > 0 {
		s.Warnings = append(s.Warnings, Note{Time: s.Updated, Message: fmt.Sprintf(
			"%s lacks the end of %s: the file is damaged or was replaced; results are from the files \"done\", and times and curves are not known",
			filepath.Join(dir, eventsFile), strings.Join(lacking, ", "))})
	}
}

// found adds the ended stages of the run in dir to a state without stages, in the
// order in which they ended. It is for journals without a plan.
func (s *State) found(dir string) {
	folders, err := Folders(filepath.Join(dir, stagesDir))
	if err != nil {
		return
	}
	ended := map[string]time.Time{}
	for _, stage := range folders {
		if o, err := ReadOutcome(dir, stage); err == nil && o != nil {
			ended[stage] = o.Time
			s.stage(stage)
		}
	}
	slices.SortStableFunc(s.Stages, func(a, b StageState) int { return ended[a.Name].Compare(ended[b.Name]) })
}

// Unrecorded reports whether the journal lacks the end of a stage. The times of the
// whole run are then not known.
func (s *State) Unrecorded() bool {
	for i := range s.Stages {
		if s.Stages[i].Unrecorded {
			return true
		}
	}
	return false
}
