// Package watch reads runs for viewers: it follows one run, or lists all runs of a folder.
// It only reads files; runs do not know about their viewers.
package watch

import (
	"context"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Snapshot is the state of a run at a point in time. It is immutable.
type Snapshot struct {
	Dir       string
	State     *runs.State
	Live      runs.Liveness
	Usage     Usage
	Slurm     bool                   // the run was submitted to Slurm
	Locations map[string]Location    // by stage, of stages with processes of their own
	Seconds   map[StageEpoch]float64 // training time of a stage up to the end of an epoch
	Events    int                    // number of events read so far
	Skipped   int                    // number of lines that are not events
	Reading   bool                   // the files have more events than were read so far
	Err       error                  // why no more snapshots follow
}

// StageEpoch identifies an epoch of a stage.
type StageEpoch struct {
	Stage string
	Epoch int
}

// firstDelay is the time before the first snapshot. It is too short to notice, but long
// enough to read a short run completely.
const firstDelay = 30 * time.Millisecond

// Follow sends snapshots of the run in dir: the first one almost at once, later ones when
// something has changed, at most one per interval. A slow receiver gets only the latest
// snapshot. The channel is closed after ctx is done and all goroutines have ended.
func Follow(ctx context.Context, dir string, interval time.Duration) <-chan Snapshot {
	f := &follower{dir: dir, state: runs.Fold(nil), seconds: map[StageEpoch]float64{}}
	out := make(chan Snapshot, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		first, _ := runs.ReadLiveness(dir, time.Now()) // zero if it cannot be read
		var wg sync.WaitGroup
		wg.Go(func() { f.read(ctx) })
		wg.Go(func() { f.pollSlurm(ctx) })
		defer close(out)
		defer wg.Wait()
		defer cancel()
		timer := time.NewTimer(firstDelay)
		defer timer.Stop()
		lastSummary := ""
		lastLines := -1
		reading := false
		need := 1 // how often the events must be read to their end until none can be missing
		endedBefore := ended(first)
		var process meter
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-timer.C:
				timer.Reset(interval)
				live, liveErr := runs.ReadLiveness(dir, now)
				attempts, _ := runs.ReadAttempts(dir, now) // an error is also an error of ReadLiveness
				summary := summarize(live)
				for _, a := range attempts {
					summary += "\n" + summarize(a)
				}
				summary += f.takeJobs()
				if summary == lastSummary && !reading && !f.changed(lastLines) && liveErr == nil {
					continue
				}
				s, ends := f.snapshot()
				f.describe(s.State)
				// A process writes its last event before its last status. A read that was in
				// progress when it did so may have missed that event.
				if ended(live) && !endedBefore {
					need = ends + 2
				}
				endedBefore = ended(live)
				s.Reading = s.Err == nil && ends < need
				if s.Err == nil && liveErr != nil && s.Events == 0 && !s.Reading {
					s.Err = liveErr
				}
				if summary == lastSummary && s.Events+s.Skipped == lastLines && !reading && s.Err == nil {
					continue
				}
				lastSummary, lastLines, reading = summary, s.Events+s.Skipped, s.Reading // the end of reading is a change too
				s.Live, _ = SettleJobs(s.State, live, f.jobs)
				s.Slurm = slurm.Submitted(dir)
				s.Locations = Locations(s.State, attempts, f.jobs)
				s.State.Settle(s.Live)
				if !s.Reading {
					s.State.ApplyOutcomes(dir)
				}
				// In other states, PID may be the process that submitted or stopped the jobs.
				if live.Status.Local() && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled) {
					s.Usage = process.read(live.Status.PID, now)
				}
				select {
				case <-out: // drop a snapshot that was not received
				default:
				}
				out <- s
				if s.Err != nil {
					return
				}
			}
		}
	}()
	return out
}

// ended reports whether no process writes events any more.
func ended(l runs.Liveness) bool { return l.Alive == runs.IsFinished || l.Alive == runs.IsCrashed }

// summarize returns a text that changes whenever l changes enough for a redraw.
func summarize(l runs.Liveness) string {
	const step = 5 * time.Second
	summary := string(l.Alive) + string(l.Status.Phase) + l.Status.Stage + l.Status.Message
	if l.Alive == runs.IsStalled {
		summary += l.Silent.Truncate(step).String()
	}
	return summary
}

// follower folds the events of a run as they are written.
type follower struct {
	dir    string
	jobs   []slurm.StageJob // used by the goroutine that sends; see takeJobs
	config *presets.Config  // of the run; read if its journal does not describe its stages

	mu              sync.Mutex
	state           *runs.State
	seconds         map[StageEpoch]float64
	events, skipped int
	ends            int // how often the events were read to their end
	err             error
	polled          []slurm.StageJob // Slurm's last answer
}

// pollEvery is the time between two requests to Slurm, which serves the whole cluster.
const pollEvery = 10 * time.Second

// pollSlurm asks Slurm about a run that was submitted, until ctx is done.
func (f *follower) pollSlurm(ctx context.Context) {
	for slurm.Submitted(f.dir) {
		// After an error, ask again later.
		if jobs, err := slurm.StageJobs(ctx, f.dir); err == nil {
			f.mu.Lock()
			f.polled = jobs
			f.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollEvery):
		}
	}
}

// takeJobs sets jobs to Slurm's last answer, and returns it as text.
func (f *follower) takeJobs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs = f.polled
	text := ""
	for _, j := range f.jobs {
		text += "\n" + j.Stage + " " + j.String()
	}
	return text
}

func (f *follower) read(ctx context.Context) {
	atEnd := func() {
		f.mu.Lock()
		f.ends++
		f.mu.Unlock()
	}
	for e, err := range runs.FollowState(ctx, f.dir, atEnd) {
		f.mu.Lock()
		switch {
		case err != nil:
			f.err = err
		case e.Kind == runs.Warning && e.Time.IsZero():
			f.skipped++
		default:
			f.events++
			f.state.Apply(e)
			if e.Kind == runs.Epoch || e.Kind == runs.Eval {
				if st := f.state.Stage(e.Stage); st != nil {
					f.seconds[StageEpoch{e.Stage, e.Epoch}] = st.Elapsed
				}
			}
		}
		f.mu.Unlock()
	}
}

// changed reports whether the number of lines read differs from lines, or reading has
// failed. It is cheaper than a snapshot, which copies all curves.
func (f *follower) changed(lines int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events+f.skipped != lines || f.err != nil
}

// snapshot copies the state, which Apply changes in place.
func (f *follower) snapshot() (s Snapshot, ends int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s = Snapshot{Dir: f.dir, Events: f.events, Skipped: f.skipped, Err: f.err, Seconds: maps.Clone(f.seconds), State: f.state.Clone()}
	return s, f.ends
}

// describe completes the description of the stages from the configuration, if the journal
// does not have it. If the configuration cannot be read, it does nothing.
func (f *follower) describe(s *runs.State) {
	if method.HasStageInfo(s) {
		return
	}
	if f.config == nil {
		f.config, _ = presets.Load(filepath.Join(f.dir, "config.toml"), nil)
	}
	if f.config != nil {
		method.FillStageInfo(s, f.config)
	}
}
