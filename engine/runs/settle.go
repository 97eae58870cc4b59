package runs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Settle corrects s according to the liveness of the run. Without it, a run would seem to be
// running after its process was killed, or could not write its last event.
func (s *State) Settle(l Liveness) {
	phase := Stopped
	switch l.Alive {
	case IsCrashed:
	case IsFinished:
		if p := l.Status.Phase; p == Failed || p == Finished {
			phase = p
		}
	default:
		return
	}
	if s.Phase.alive() || s.Phase == Waiting && phase == Finished {
		if s.Phase = phase; phase != Stopped {
			s.Message = l.Status.Message
		}
	}
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Phase == Running {
			st.Phase = Stopped
		}
	}
}

// InferLiveness replaces ReadLiveness if the status of the run in dir cannot be read. It
// judges by the run's lock and by s, the state from its events. The result has no process,
// host and heartbeat.
func (s *State) InferLiveness(dir string) Liveness {
	l := Liveness{Alive: IsFinished, Status: Status{Phase: s.Phase, Message: s.Message}}
	switch {
	case flocks.inspect(filepath.Join(dir, lockFile)) == lockHeld:
		l.Alive = IsRunning
		if !s.Phase.alive() {
			l.Status.Phase = Running
		}
	case s.Phase.alive():
		l.Alive = IsCrashed
	}
	return l
}

// ApplyOutcomes marks those stages of s as finished that have a done file in dir. A damaged
// journal may lack the end of a stage; ApplyOutcomes then adds one warning. Call it after
// Settle, when all events have been applied.
func (s *State) ApplyOutcomes(dir string) {
	if len(s.Stages) == 0 {
		s.addEnded(dir)
	}
	var lacking []string
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Phase == Finished || st.Phase == Running {
			continue
		}
		o, err := ReadOutcome(dir, st.Name)
		if err != nil || o == nil { // resuming the run will report the error
			continue
		}
		if s.Phase.alive() && o.Time.After(s.Updated) {
			continue // the stage ended after the journal was read
		}
		st.Phase, st.Ended, st.Results, st.Unrecorded = Finished, o.Time, o.Values, true
		st.Epoch, st.Step = o.Epoch, o.Step
		st.Epochs, st.Steps = o.Epoch, o.Step
		st.Last = nil // these values belong to an earlier step
		st.Checkpoint = filepath.ToSlash(filepath.Join(stagesDir, st.Name, filepath.Base(o.Checkpoint)))
		lacking = append(lacking, st.Name)
	}
	if len(lacking) > 0 {
		s.Warnings = append(s.Warnings, Note{Time: s.Updated, Message: fmt.Sprintf(
			"%s lacks the end of %s: the file is damaged or was replaced; results are from the done files, and times and curves are unknown",
			filepath.Join(dir, eventsFile), strings.Join(lacking, ", "))})
	}
}

// addEnded adds the finished stages of the run in dir to a state without stages, in the
// order in which they ended. It is for journals without a plan.
func (s *State) addEnded(dir string) {
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

// Unrecorded reports whether the journal lacks the end of a stage. The times of the whole
// run are then unknown.
func (s *State) Unrecorded() bool {
	for i := range s.Stages {
		if s.Stages[i].Unrecorded {
			return true
		}
	}
	return false
}
