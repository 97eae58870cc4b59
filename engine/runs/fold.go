package runs

import (
	"slices"
	"time"
)

// State is what a run's events add up to. Terminal, headless output, status
// and report all show this.
//
// A resumed stage goes on from its checkpoint, and what an earlier attempt
// reported beyond it is dropped: the state of a run that was killed and
// resumed is that of one that was not, but for its times and attempts.
type State struct {
	Phase    Phase          `json:"phase"`
	Stages   []StageState   `json:"stages"` // of the last plan, in its order, then the order of appearance
	Results  []MethodResult `json:"results,omitempty"`
	Warnings []Note         `json:"warnings,omitempty"` // the last maxNotes at least
	Errors   []Note         `json:"errors,omitempty"`   // of every attempt; the last maxNotes at least
	Message  string         `json:"message,omitempty"`
	Attempts int            `json:"attempts"`
	Started  time.Time      `json:"started"` // the first event
	Updated  time.Time      `json:"updated"` // the last event
	Elapsed  float64        `json:"elapsed"` // seconds up to Updated, summed over attempts

	Environment map[string]string `json:"environment,omitempty"` // of the last attempt

	clock  clock
	base   float64      // work done when this attempt began; see progress
	former []StageState // stages of earlier plans that are not in the last one

	submitted bool // to a scheduler, which will start what is not done
	complete  bool // as some attempt at a single stage has said
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
	Last       Values    `json:"last,omitempty"`   // latest of each value
	Points     []Point   `json:"points,omitempty"` // the curves, by rising epoch
	Checkpoint string    `json:"checkpoint,omitempty"`
	Results    Values    `json:"results,omitempty"` // of its stage-end
	Attempts   int       `json:"attempts"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Elapsed    float64   `json:"elapsed"` // seconds, summed over attempts

	// Unrecorded says that the end of the stage is known from its file "done"
	// alone: the journal lacks its events, and so its times and its curves.
	Unrecorded bool `json:"unrecorded,omitempty"`

	// Of a stage that has a process of its own.
	Attempt  int    `json:"attempt,omitempty"` // the newest
	Host     string `json:"host,omitempty"`
	Job      string `json:"job,omitempty"`      // the scheduler's
	Requeues int    `json:"requeues,omitempty"` // of that job

	clock clock
	cost  float64
}

// Point is an epoch on the curves: what its "epoch" and "eval" events say.
type Point struct {
	Epoch  int    `json:"epoch"`
	Step   int    `json:"step"`
	Values Values `json:"values"`

	last Values // StageState.Last at this point
}

// MethodResult is a row of the final table.
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

// clock sums the time of attempts. A process that is killed says no last
// word, so an attempt lasts until its last event.
type clock struct {
	start, seen time.Time
	before      float64 // seconds of earlier attempts
}

func (c *clock) begin(t time.Time) {
	c.before = c.elapsed()
	c.start, c.seen = t, t
}

func (c *clock) elapsed() float64 { return c.before + max(0, c.seen.Sub(c.start).Seconds()) }

// Fold returns the state after the given events.
func Fold(events []Event) *State {
	s := &State{Phase: Waiting}
	for _, e := range events {
		s.Apply(e)
	}
	return s
}

// Clone returns a copy that Apply can change without changing s.
func (s *State) Clone() *State {
	c := *s
	c.Stages = slices.Clone(c.Stages)
	for i := range c.Stages {
		c.Stages[i].Points = slices.Clone(c.Stages[i].Points)
	}
	c.former = slices.Clone(c.former) // whose points only change once they are in Stages again
	c.Results = slices.Clone(c.Results)
	c.Warnings, c.Errors = slices.Clone(c.Warnings), slices.Clone(c.Errors)
	return &c
}

// Apply adds the next event. Kinds that it does not know, from a later
// version, only move the time. What an attempt at a stage says after a later
// one has begun is passed over.
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
	if e.Time.After(s.Updated) { // or the clock of another machine is behind
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
		s.goOn(e)
	}
	if s.Phase.alive() && s.Phase != Queued {
		if e.Time.After(s.clock.seen) {
			s.clock.seen = e.Time
		}
		s.Elapsed = s.clock.elapsed()
	}
	if e.Stage != "" {
		s.applyStage(e)
	}
	switch e.Kind {
	case Result:
		s.result(e)
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
		s.settle()
	}
}

// maxNotes is how many warnings, and how many errors, a State keeps at least. A limit is
// needed because each broken line of a journal is a warning.
const maxNotes = 1000

// lastNotes drops the oldest notes, many at a time, once there are twice maxNotes.
func lastNotes(notes []Note) []Note {
	if len(notes) < 2*maxNotes {
		return notes
	}
	return slices.Clone(notes[len(notes)-maxNotes:])
}

func note(e Event) Note { return Note{e.Time, e.Stage, e.Epoch, e.Step, e.Message} }

// startAttempt begins the work of a process: stages that an earlier one left
// unfinished wait for it.
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
		st.Host, st.Job, st.Requeues = "", "", 0 // they were another process's
	}
	s.Results = nil // they are reported again when all stages are done
	s.plan(e.Plan)
	s.only(e.Plan)
	s.base = s.done()
}

// submit hands what is not done to a scheduler.
func (s *State) submit(e Event) {
	s.Phase, s.Message, s.submitted = Submitted, e.Message, true
	s.halt()
	s.plan(e.Plan)
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Phase == Failed || st.Phase == Stopped {
			st.Phase = Waiting
		}
	}
}

// startStage begins the work of a process that has one stage, beside those
// that have others.
func (s *State) startStage(e Event) {
	s.Environment = e.Environment
	if !s.anyIn(Running) {
		s.clock.begin(e.Time)
		s.base = s.done()
	}
	s.plan(e.Plan)
	s.only(e.Plan)
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

// settle is the phase of a run whose stages have processes of their own.
func (s *State) settle() {
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

// goOn leaves the time of a pause out of every clock, and of the speed from
// which ETA follows.
func (s *State) goOn(e Event) {
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

// stage returns the named stage and makes it if there is none.
func (s *State) stage(name string) *StageState {
	if st := s.Stage(name); st != nil {
		return st
	}
	st := StageState{Name: name, Phase: Waiting}
	if i := slices.IndexFunc(s.former, func(x StageState) bool { return x.Name == name }); i >= 0 {
		st = s.former[i]
		st.Points = slices.Clone(st.Points) // Clone leaves these shared
		s.former = slices.Delete(s.former, i, i+1)
	}
	s.Stages = append(s.Stages, st)
	return &s.Stages[len(s.Stages)-1]
}

func (s *State) result(e Event) {
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
		s.base += s.done() - before // work that is done again was not this attempt's
		s.Warnings = slices.DeleteFunc(s.Warnings, func(n Note) bool { return n.Stage == e.Stage && n.Step > e.Step })
		return
	case Step:
		st.Last = st.Last.with(e.Values)
	case Epoch, Eval:
		st.Last = st.Last.with(e.Values)
		st.point(e)
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
	st.clock.seen = e.Time
	st.Elapsed = st.clock.elapsed()
}

// begin starts the stage, at e.Epoch and e.Step if it is resumed, else anew.
func (st *StageState) begin(e Event) {
	if e.Kind == StageStart && (st.Checkpoint != "" || !st.Ended.IsZero()) {
		// What it had was removed, or could not be used: this is another stage,
		// and the time of the one before is not part of it.
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

// point adds values to the curves at the event's epoch.
func (st *StageState) point(e Event) {
	i, found := slices.BinarySearchFunc(st.Points, e.Epoch, func(p Point, epoch int) int { return p.Epoch - epoch })
	if !found {
		st.Points = slices.Insert(st.Points, i, Point{Epoch: e.Epoch})
	}
	p := &st.Points[i]
	p.Step = max(p.Step, e.Step)
	p.Values = p.Values.with(e.Values)
	p.last = st.Last
}

// Best returns the first point of the highest accuracy, and false if the
// stage was not evaluated yet.
func (st *StageState) Best() (best Point, ok bool) {
	for _, p := range st.Points {
		top1, evaluated := p.Values[Top1]
		if evaluated && (!ok || top1 > best.Values[Top1]) {
			best, ok = p, true
		}
	}
	return best, ok
}

// Progress is the part of the stage that is done, 0 to 1.
func (st *StageState) Progress() float64 {
	switch {
	case st.Phase == Finished:
		return 1
	case st.Steps > 0:
		return share(float64(st.Step), float64(st.Steps))
	case st.Epochs > 0:
		return share(float64(st.Epoch), float64(st.Epochs))
	}
	return 0
}

// Progress is the part of the run's work that is done, 0 to 1.
func (s *State) Progress() float64 {
	if total := s.total(); total > 0 {
		return share(s.done(), total)
	}
	return 0
}

// share returns the fraction done of total, limited to 0 to 1 even if the events are
// wrong.
func share(done, total float64) float64 {
	if part := done / total; part > 0 { // false for NaN too
		return min(1, part)
	}
	return 0
}

// ETA returns how long the run will still take at the speed of the present
// attempt, and false while that is not known. Stages weigh what the plan says
// they cost or, if it does not say so for all, their steps.
func (s *State) ETA(now time.Time) (time.Duration, bool) {
	work := s.done() - s.base
	took := s.clock.seen.Sub(s.clock.start)
	if s.Phase != Running || work <= 0 || took <= 0 {
		return 0, false
	}
	left := time.Duration(float64(took) * (s.total() - s.done()) / work)
	return max(0, left-max(0, now.Sub(s.clock.seen))), true
}

// done and total are amounts of work in the plan's unit.
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
