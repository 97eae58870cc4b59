package runs

import (
	"slices"
	"time"
)

// State is the state of a run after its events. The workbench, headless output, status and
// report all show it.
//
// When a stage resumes from a checkpoint, everything that was reported after that
// checkpoint is dropped. A run that was killed and resumed thus has the same state as one
// that was not, except for times and attempts.
type State struct {
	Phase    Phase          `json:"phase"`
	Stages   []StageState   `json:"stages"` // first those of the last plan in its order, then others in order of appearance
	Results  []MethodResult `json:"results,omitempty"`
	Warnings []Note         `json:"warnings,omitempty"` // at least the last maxNotes
	Errors   []Note         `json:"errors,omitempty"`   // of all attempts, at least the last maxNotes
	Message  string         `json:"message,omitempty"`
	Attempts int            `json:"attempts"`
	Started  time.Time      `json:"started"` // time of the first event
	Updated  time.Time      `json:"updated"` // time of the last event
	Elapsed  float64        `json:"elapsed"` // seconds up to Updated, summed over attempts

	Environment map[string]string `json:"environment,omitempty"` // of the last attempt

	clock  clock
	base   float64      // work done when this attempt began; see ETA
	former []StageState // stages of earlier plans that are not in the last one

	submitted bool // to a scheduler, which will start unfinished stages
	complete  bool // an event reported that all stages are done
}

// StageState is one stage of a State.
type StageState struct {
	Name   string `json:"name"`
	Method string `json:"method,omitempty"`
	StageInfo
	Phase      Phase     `json:"phase"`
	Epoch      int       `json:"epoch"` // as in Event
	Epochs     int       `json:"epochs"`
	Step       int       `json:"step"`
	Steps      int       `json:"steps"`
	Last       Values    `json:"last,omitempty"`   // the latest number for each name
	Points     []Point   `json:"points,omitempty"` // the curves, by increasing epoch
	Checkpoint string    `json:"checkpoint,omitempty"`
	Results    Values    `json:"results,omitempty"` // from its stage-end event
	Attempts   int       `json:"attempts"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Elapsed    float64   `json:"elapsed"` // seconds, summed over attempts

	// Unrecorded means that only the done file shows that the stage is done. The
	// journal lacks its events, and with them its times and curves.
	Unrecorded bool `json:"unrecorded,omitempty"`

	// These are set if the stage has its own process.
	Attempt  int    `json:"attempt,omitempty"` // the newest
	Host     string `json:"host,omitempty"`
	Job      string `json:"job,omitempty"`      // the scheduler's job
	Requeues int    `json:"requeues,omitempty"` // of that job

	clock clock
	cost  float64
}

// Point is an epoch on the curves, with the values of its "epoch" and "eval" events.
type Point struct {
	Epoch  int    `json:"epoch"`
	Step   int    `json:"step"`
	Values Values `json:"values"`

	last Values // StageState.Last at this point
}

// MethodResult is a row of the table of results.
type MethodResult struct {
	Method string `json:"method"`
	Values Values `json:"values"`
}

// Note is a warning or an error.
type Note struct {
	Time    time.Time `json:"time"`
	Stage   string    `json:"stage,omitempty"`
	Epoch   int       `json:"epoch,omitempty"`
	Step    int       `json:"step,omitempty"`
	Message string    `json:"message"`
}

// clock sums the durations of attempts. An attempt lasts until its last event, since a
// process that is killed does not report its end.
type clock struct {
	start, last time.Time
	earlier     float64 // seconds of earlier attempts
}

func (c *clock) begin(t time.Time) {
	c.earlier = c.elapsed()
	c.start, c.last = t, t
}

func (c *clock) elapsed() float64 { return c.earlier + max(0, c.last.Sub(c.start).Seconds()) }

// Fold returns the state after the given events.
func Fold(events []Event) *State {
	s := &State{Phase: Waiting}
	for _, e := range events {
		s.Apply(e)
	}
	return s
}

// Clone returns a copy of s. Apply can change the copy without affecting s.
func (s *State) Clone() *State {
	c := *s
	c.Stages = slices.Clone(c.Stages)
	for i := range c.Stages {
		c.Stages[i].Points = slices.Clone(c.Stages[i].Points)
	}
	c.former = slices.Clone(c.former) // their Points are cloned when they become part of Stages again
	c.Results = slices.Clone(c.Results)
	c.Warnings, c.Errors = slices.Clone(c.Warnings), slices.Clone(c.Errors)
	return &c
}

// Apply adds the next event. Of an event of an unknown kind, from a later version, it only
// uses the time. It ignores events of an attempt at a stage once a later attempt has
// started.
func (s *State) Apply(e Event) {
	if e.Attempt > 0 {
		if st := s.Stage(e.Stage); st != nil && e.Attempt < st.Attempt {
			return
		}
	}
	if e.Time.IsZero() { // an unreadable line
		e.Time = s.Updated
	}
	if s.Started.IsZero() {
		s.Started = e.Time
	}
	if e.Time.After(s.Updated) { // false if the clock of another machine is behind
		s.Updated = e.Time
	}
	switch e.Kind {
	case Queue:
		s.Phase, s.Message = Queued, ""
		s.halt()
	case Submit:
		s.submit(e)
	case RunStart:
		s.startAttempt(e)
	case Attempt:
		s.startStage(e)
	case Continue:
		s.endPause(e)
	}
	if s.Phase.alive() && s.Phase != Queued {
		if e.Time.After(s.clock.last) {
			s.clock.last = e.Time
		}
		s.Elapsed = s.clock.elapsed()
	}
	if e.Stage != "" {
		s.applyStage(e)
	}
	switch e.Kind {
	case Result:
		s.setResult(e)
	case Warning:
		s.Warnings = lastNotes(append(s.Warnings, note(e)))
	case Pause:
		s.Phase = Paused
	case Error:
		s.Phase, s.Message = Failed, e.Message
		s.Errors = lastNotes(append(s.Errors, note(e)))
	case Interrupted:
		s.Message = e.Message
		if e.Attempt == 0 {
			s.Phase, s.submitted = Stopped, false
			s.halt()
		}
	case Done:
		s.Phase, s.Message, s.complete = Finished, e.Message, true
	}
	if e.Attempt > 0 {
		s.updatePhase()
	}
}

// maxNotes is the number of warnings, and of errors, that a State keeps at least. A limit
// is needed because each broken line of a journal is a warning.
const maxNotes = 1000

// lastNotes drops all but the last maxNotes notes once there are twice as many.
func lastNotes(notes []Note) []Note {
	if len(notes) < 2*maxNotes {
		return notes
	}
	return slices.Clone(notes[len(notes)-maxNotes:])
}

func note(e Event) Note { return Note{e.Time, e.Stage, e.Epoch, e.Step, e.Message} }

// startAttempt records that a process starts to execute the run. Stages that an earlier
// process left unfinished become Waiting.
func (s *State) startAttempt(e Event) {
	s.Attempts++
	s.Environment = e.Environment
	s.Phase, s.Message = Running, ""
	s.clock.begin(e.Time)
	s.halt()
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Phase == Failed || st.Phase == Stopped {
			st.Phase = Waiting
		}
		st.Host, st.Job, st.Requeues = "", "", 0 // these belong to an earlier process
	}
	s.Results = nil // these will be reported again when all stages are done
	s.applyPlan(e.Plan)
	s.keepPlanned(e.Plan)
	s.base = s.done()
}

// submit records that the unfinished stages were submitted to a scheduler.
func (s *State) submit(e Event) {
	s.Phase, s.Message, s.submitted = Submitted, e.Message, true
	s.halt()
	s.applyPlan(e.Plan)
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Phase == Failed || st.Phase == Stopped {
			st.Phase = Waiting
		}
	}
}

// startStage records that a process starts to execute one stage.
func (s *State) startStage(e Event) {
	s.Environment = e.Environment
	if !s.anyIn(Running) {
		s.clock.begin(e.Time)
		s.base = s.done()
	}
	s.applyPlan(e.Plan)
	s.keepPlanned(e.Plan)
	st := s.stage(e.Stage)
	if e.Job != "" && e.Job == st.Job {
		st.Requeues++
	} else {
		st.Requeues = 0
	}
	st.Attempt, st.Host, st.Job = e.Attempt, e.Host, e.Job
	st.Phase, s.Phase, s.Message = Running, Running, ""
	s.Attempts = max(s.Attempts, 1)
}

// updatePhase sets the phase of a run whose stages have their own processes.
func (s *State) updatePhase() {
	switch {
	case s.complete:
		s.Phase = Finished
	case s.anyIn(Running):
		s.Phase = Running
	case s.anyIn(Failed):
		s.Phase = Failed
	case s.submitted:
		s.Phase = Submitted
	case s.anyIn(Stopped):
		s.Phase = Stopped
	default:
		s.Phase = Waiting
	}
}

func (s *State) anyIn(p Phase) bool {
	return slices.ContainsFunc(s.Stages, func(st StageState) bool { return st.Phase == p })
}

// endPause excludes the time of a pause from all clocks and from the speed that ETA uses.
func (s *State) endPause(e Event) {
	s.Phase = Running
	s.clock.begin(e.Time)
	s.base = s.done()
	for i := range s.Stages {
		if s.Stages[i].Phase == Running {
			s.Stages[i].clock.begin(e.Time)
		}
	}
}

// halt makes running stages wait.
func (s *State) halt() {
	for i := range s.Stages {
		if s.Stages[i].Phase == Running {
			s.Stages[i].Phase = Waiting
		}
	}
}

// Stage returns the named stage, or nil.
func (s *State) Stage(name string) *StageState {
	for i := range s.Stages {
		if s.Stages[i].Name == name {
			return &s.Stages[i]
		}
	}
	return nil
}

// stage returns the named stage. It adds the stage if there is none.
func (s *State) stage(name string) *StageState {
	if st := s.Stage(name); st != nil {
		return st
	}
	st := StageState{Name: name, Phase: Waiting}
	if i := slices.IndexFunc(s.former, func(x StageState) bool { return x.Name == name }); i >= 0 {
		st = s.former[i]
		st.Points = slices.Clone(st.Points) // State.Clone shares these
		s.former = slices.Delete(s.former, i, i+1)
	}
	s.Stages = append(s.Stages, st)
	return &s.Stages[len(s.Stages)-1]
}

func (s *State) setResult(e Event) {
	r := MethodResult{e.Method, e.Values}
	if i := slices.IndexFunc(s.Results, func(x MethodResult) bool { return x.Method == e.Method }); i >= 0 {
		s.Results[i] = r
		return
	}
	s.Results = append(s.Results, r)
}

func (s *State) applyStage(e Event) {
	st := s.stage(e.Stage)
	switch e.Kind {
	case StageStart, Resume:
		before := s.done()
		st.begin(e)
		s.base += s.done() - before // work that was lost does not count against this attempt
		s.Warnings = slices.DeleteFunc(s.Warnings, func(n Note) bool { return n.Stage == e.Stage && n.Step > e.Step })
		return
	case Step:
		st.Last = st.Last.with(e.Values)
	case Epoch, Eval:
		st.Last = st.Last.with(e.Values)
		st.addPoint(e)
	case Saved:
		st.Checkpoint = e.File
	case StageEnd:
		st.Phase, st.Ended, st.Results = Finished, e.Time, e.Values
	case Error:
		st.Phase = Failed
	case Interrupted:
		st.Phase = Stopped
	case Requeued:
		st.Phase = Waiting
	default:
		return
	}
	st.Epoch, st.Step = max(st.Epoch, e.Epoch), max(st.Step, e.Step)
	st.clock.last = e.Time
	st.Elapsed = st.clock.elapsed()
}

// begin starts the stage: at e.Epoch and e.Step if it is resumed, otherwise from scratch.
func (st *StageState) begin(e Event) {
	if e.Kind == StageStart && (st.Checkpoint != "" || !st.Ended.IsZero()) {
		// Its checkpoints were removed or could not be used. The time spent on them
		// does not count.
		st.Attempts, st.Started, st.clock = 0, time.Time{}, clock{}
	}
	st.Phase, st.Unrecorded = Running, false
	st.Attempts++
	st.Epoch, st.Step = e.Epoch, e.Step
	if e.Epochs > 0 {
		st.Epochs = e.Epochs
	}
	if e.Steps > 0 {
		st.Steps = e.Steps
	}
	if e.Method != "" {
		st.Method = e.Method
	}
	st.Points = slices.DeleteFunc(st.Points, func(p Point) bool { return e.Kind == StageStart || p.Epoch > e.Epoch })
	st.Last = nil
	if n := len(st.Points); n > 0 {
		st.Last = st.Points[n-1].last
	}
	st.Checkpoint, st.Results, st.Ended = e.File, nil, time.Time{}
	if st.Started.IsZero() {
		st.Started = e.Time
	}
	st.clock.begin(e.Time)
	st.Elapsed = st.clock.elapsed()
}

// addPoint adds the event's values to the curves.
func (st *StageState) addPoint(e Event) {
	i, found := slices.BinarySearchFunc(st.Points, e.Epoch, func(p Point, epoch int) int { return p.Epoch - epoch })
	if !found {
		st.Points = slices.Insert(st.Points, i, Point{Epoch: e.Epoch})
	}
	p := &st.Points[i]
	p.Step = max(p.Step, e.Step)
	p.Values = p.Values.with(e.Values)
	p.last = st.Last
}

// Best returns the first point with the highest accuracy, and false if the stage has not
// been evaluated.
func (st *StageState) Best() (best Point, ok bool) {
	for _, p := range st.Points {
		top1, evaluated := p.Values[Top1]
		if evaluated && (!ok || top1 > best.Values[Top1]) {
			best, ok = p, true
		}
	}
	return best, ok
}

// Progress returns the fraction of the stage that is done, 0 to 1.
func (st *StageState) Progress() float64 {
	switch {
	case st.Phase == Finished:
		return 1
	case st.Steps > 0:
		return fraction(float64(st.Step), float64(st.Steps))
	case st.Epochs > 0:
		return fraction(float64(st.Epoch), float64(st.Epochs))
	}
	return 0
}

// Progress returns the fraction of the run's work that is done, 0 to 1.
func (s *State) Progress() float64 {
	if total := s.total(); total > 0 {
		return fraction(s.done(), total)
	}
	return 0
}

// fraction returns done / total, limited to 0 to 1 in case the events are wrong.
func fraction(done, total float64) float64 {
	if part := done / total; part > 0 { // false for NaN too
		return min(1, part)
	}
	return 0
}

// ETA returns the remaining time at the speed of the current attempt, and false if that is
// unknown. Work is measured by the costs in the plan or, if it lacks the cost of a stage,
// by steps.
func (s *State) ETA(now time.Time) (time.Duration, bool) {
	work := s.done() - s.base
	took := s.clock.last.Sub(s.clock.start)
	if s.Phase != Running || work <= 0 || took <= 0 {
		return 0, false
	}
	left := time.Duration(float64(took) * (s.total() - s.done()) / work)
	return max(0, left-max(0, now.Sub(s.clock.last))), true
}

// done and total return amounts of work, in the unit of the plan's costs or in steps.
func (s *State) done() (work float64) {
	costs := s.costsKnown()
	for i := range s.Stages {
		work += s.Stages[i].work(costs) * s.Stages[i].Progress()
	}
	return work
}

func (s *State) total() (work float64) {
	costs := s.costsKnown()
	for i := range s.Stages {
		work += s.Stages[i].work(costs)
	}
	return work
}

func (s *State) costsKnown() bool {
	return !slices.ContainsFunc(s.Stages, func(st StageState) bool { return st.cost <= 0 })
}

func (st *StageState) work(costs bool) float64 {
	if costs {
		return st.cost
	}
	return float64(st.Steps)
}
