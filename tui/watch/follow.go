// Package watch reads runs for viewers: one run as it goes on, or all runs of a
// folder at a glance. It only reads; a run knows nothing of its viewers.
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

// Snapshot is what is known of a run at a moment. Nobody changes it once it is
// there.
type Snapshot struct {
	Dir     string
	State   *runs.State
	Live    runs.Liveness
	Usage   Usage
	Slurm   bool                // it was submitted
	Where   map[string]Location // of stages that have processes of their own
	Seconds map[Place]float64   // training time of a stage when it ended an epoch
	Events  int                 // read so far
	Skipped int                 // lines that are not events
	Reading bool                // the files hold more than has been read so far
	Err     error               // why there is no more to come
}

// Place is an epoch of a stage.
type Place struct {
	Stage string
	Epoch int
}

// firstAfter is when the first snapshot is sent: soon enough to be no wait,
// late enough to hold the whole of a short run.
const firstAfter = 30 * time.Millisecond

// Follow sends what is known of the run in dir, first almost at once and then
// at most once in the given time, and only when it changed. A reader that is
// late gets the latest. The channel is closed when ctx is done and no
// goroutine is left.
func Follow(ctx context.Context, dir string, every time.Duration) <-chan Snapshot {
	f := &follower{dir: dir, state: runs.Fold(nil), seconds: map[Place]float64{}}
	out := make(chan Snapshot, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		before, _ := runs.ReadLiveness(dir, time.Now()) // zero if it cannot be read
		var wg sync.WaitGroup
		wg.Go(func() { f.read(ctx) })
		wg.Go(func() { f.ask(ctx) })
		defer close(out)
		defer wg.Wait()
		defer cancel()
		timer := time.NewTimer(firstAfter)
		defer timer.Stop()
		last := ""
		seen := -1
		reading := false
		need := 1 // how often the events must have been read to their end before none can be missing
		was := gone(before)
		var process meter
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-timer.C:
				timer.Reset(every)
				live, liveErr := runs.ReadLiveness(dir, now)
				attempts, _ := runs.ReadAttempts(dir, now) // whose error is that of liveness
				words := said(live)
				for _, a := range attempts {
					words += "\n" + said(a)
				}
				words += f.queue()
				if words == last && !reading && !f.news(seen) && liveErr == nil {
					continue
				}
				s, ends := f.snapshot()
				f.describe(s.State)
				// A process writes its last event before its last status. A read that was
				// in progress then may have missed that event.
				if gone(live) && !was {
					need = ends + 2
				}
				was = gone(live)
				s.Reading = s.Err == nil && ends < need
				if s.Err == nil && liveErr != nil && s.Events == 0 && !s.Reading {
					s.Err = liveErr
				}
				if words == last && s.Events+s.Skipped == seen && !reading && s.Err == nil {
					continue
				}
				last, seen, reading = words, s.Events+s.Skipped, s.Reading // the end of reading is news too
				s.Live, _ = GivenUp(s.State, live, f.places)
				s.Slurm = slurm.Submitted(dir)
				s.Where = Where(s.State, attempts, f.places)
				s.State.Settle(s.Live)
				if !s.Reading {
					s.State.ApplyOutcomes(dir)
				}
				// Who submitted or stopped jobs may be there yet, and is not the run.
				if live.Status.Local() && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled) {
					s.Usage = process.read(live.Status.PID, now)
				}
				select {
				case <-out: // nobody took it, and it is old
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

// gone reports whether no process writes events any more.
func gone(l runs.Liveness) bool { return l.Alive == runs.IsFinished || l.Alive == runs.IsCrashed }

// said is what of a run's health is shown, in steps that are worth a redraw.
func said(l runs.Liveness) string {
	const step = 5 * time.Second
	words := string(l.Alive) + string(l.Status.Phase) + l.Status.Stage + l.Status.Message
	if l.Alive == runs.IsStalled {
		words += l.Silent.Truncate(step).String()
	}
	return words
}

// follower folds the events of a run as they come.
type follower struct {
	dir    string
	places []slurm.StageJob // what Where was last told; of the goroutine that sends
	config *presets.Config  // of the run; read if its journal does not describe its stages

	mu              sync.Mutex
	state           *runs.State
	seconds         map[Place]float64
	events, skipped int
	ends            int // how often all that was written had been read
	err             error
	queued          []slurm.StageJob // what Slurm said last
}

// askEvery is how often Slurm is asked. It serves the whole cluster.
const askEvery = 10 * time.Second

// ask asks Slurm about a run that was submitted.
func (f *follower) ask(ctx context.Context) {
	for slurm.Submitted(f.dir) {
		// What Slurm does not answer now it may answer the next time.
		if places, err := slurm.StageJobs(ctx, f.dir); err == nil {
			f.mu.Lock()
			f.queued = places
			f.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
}

// queue takes what Slurm said last, and returns it in words.
func (f *follower) queue() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places = f.queued
	words := ""
	for _, p := range f.places {
		words += "\n" + p.Stage + " " + p.String()
	}
	return words
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
					f.seconds[Place{e.Stage, e.Epoch}] = st.Elapsed
				}
			}
		}
		f.mu.Unlock()
	}
}

// news says whether there is more than the seen lines, or an end of them. A
// snapshot, which would tell too, copies all curves.
func (f *follower) news(seen int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events+f.skipped != seen || f.err != nil
}

// snapshot copies the state, which Apply changes in place.
func (f *follower) snapshot() (s Snapshot, ends int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s = Snapshot{Dir: f.dir, Events: f.events, Skipped: f.skipped, Err: f.err, Seconds: maps.Clone(f.seconds), State: f.state.Clone()}
	return s, f.ends
}

// describe fills in what the stages are in a state whose journal does not say so. If
// the configuration cannot be read either, they stay undescribed.
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
