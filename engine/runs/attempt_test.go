package runs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stageRun opens a stage of the run in dir for writing.
func stageRun(t *testing.T, dir, stage string, c Claim) *Run {
	t.Helper()
	r, err := OpenStage(t.Context(), dir, stage, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// closedRun creates a run that is not open in any process.
func closedRun(t *testing.T) (dir string) {
	t.Helper()
	r := newRun(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return r.Dir()
}

func TestOneProcessAStage(t *testing.T) {
	dir := closedRun(t)
	// Many processes try at once, and exactly one succeeds.
	const n = 8
	got := make(chan error, n)
	won := make(chan *Run, n)
	for range n {
		go func() {
			r, err := OpenStage(t.Context(), dir, "meta", Claim{})
			if err == nil {
				won <- r
			}
			got <- err
		}()
	}
	taken := 0
	for range n {
		if err := <-got; errors.Is(err, ErrTaken) {
			taken++
		} else if err != nil {
			t.Error(err)
		}
	}
	if taken != n-1 {
		t.Fatalf("%d of %d were refused", taken, n)
	}
	have := <-won
	if have.Attempt() != 1 {
		t.Errorf("the first attempt has number %d", have.Attempt())
	}
	// Another stage can be opened. The whole run cannot, and vice versa.
	other := stageRun(t, dir, "e2e", Claim{})
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the run as a whole: %v", err)
	}
	if err := errors.Join(have.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStage(t.Context(), dir, "meta", Claim{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid") {
		t.Errorf("a stage of a run that is executed as a whole: %v", err)
	}
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	if r := stageRun(t, dir, "meta", Claim{}); r.Attempt() != 2 {
		t.Errorf("the second attempt has number %d", r.Attempt())
	}
}

func TestStageRefusals(t *testing.T) {
	dir := closedRun(t)
	r := stageRun(t, dir, "meta", Claim{})
	if err := r.Save(&Checkpoint{Stage: "e2e", Epoch: 1}); err == nil {
		t.Error("saved a checkpoint of another stage")
	}
	for _, stage := range []string{"", "../meta", "a/b", ".x"} {
		if _, err := OpenStage(t.Context(), dir, stage, Claim{}); err == nil {
			t.Errorf("opened stage %q", stage)
		}
	}
	if _, err := OpenStage(t.Context(), t.TempDir(), "meta", Claim{}); err == nil {
		t.Error("opened a stage of a folder that is no run")
	}
}

// elsewhere makes an attempt look like one on another machine.
func elsewhere(t *testing.T, r *Run, heartbeat time.Time) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Host, r.status.Process, r.status.Heartbeat = "elsewhere", Process{}, heartbeat
	if err := writeStatus(osDisk{}, r.statusPath(), r.statusTempPath(), r.status); err != nil {
		t.Fatal(err)
	}
}

// TestOtherMachine checks that the heartbeats of a process on another machine show whether it
// is alive, regardless of its clock.
func TestOtherMachine(t *testing.T) {
	t.Parallel()
	for _, clock := range []time.Duration{-time.Hour, time.Hour} {
		dir := closedRun(t)
		r := stageRun(t, dir, "meta", Claim{Job: "7"})
		elsewhere(t, r, time.Now().Add(clock))
		// A killed process writes no more heartbeats; this one does after a while.
		watched := make(chan Status, 1)
		go func() {
			s := <-watched
			r.mu.Lock()
			defer r.mu.Unlock()
			r.status.Heartbeat = s.Heartbeat.Add(beatEvery)
			writeStatus(osDisk{}, r.statusPath(), r.statusTempPath(), r.status)
		}()
		_, err := OpenStage(t.Context(), dir, "meta", Claim{Watch: func(s Status) { watched <- s }})
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("clock %v: %v", clock, err)
		}
		// The wait can be cancelled.
		ctx, cancel := context.WithCancel(t.Context())
		_, err = OpenStage(ctx, dir, "meta", Claim{Watch: func(Status) { cancel() }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("clock %v: %v", clock, err)
		}
	}
}

func saveEpoch(r *Run, stage string, epoch int) error {
	return r.Save(checkpointAt(stage, epoch))
}

func checkpointAt(stage string, epoch int) *Checkpoint {
	return testCheckpoint(stage, epoch, 0, float64(epoch))
}

// TestSuperseded checks that a job that was started again takes over from its earlier process,
// which is still alive and continues to train and to save.
func TestSuperseded(t *testing.T) {
	dir := closedRun(t)
	old := stageRun(t, dir, "meta", Claim{Job: "7"})
	if err := errors.Join(old.Emit(Event{Kind: Attempt, Host: "a", Job: "7"}), old.Emit(Event{Kind: StageStart, Epochs: 4, Steps: 40})); err != nil {
		t.Fatal(err)
	}
	for epoch := 1; epoch <= 2; epoch++ {
		if err := errors.Join(old.Emit(Event{Kind: Epoch, Epoch: epoch, Step: 10 * epoch, Values: Values{Loss: 1}}), saveEpoch(old, "meta", epoch)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenStage(cancelled(t), dir, "meta", Claim{Job: "8"}); !errors.Is(err, ErrTaken) {
		t.Fatalf("another job took the stage: %v", err)
	}
	next := stageRun(t, dir, "meta", Claim{Job: "7"})
	if err := next.Emit(Event{Kind: Attempt, Host: "b", Job: "7"}); err != nil {
		t.Fatal(err)
	}
	all, err := next.Resume("meta")
	if err != nil || len(all) != 1 || all[0].Epoch != 2 {
		t.Fatalf("resumed from %+v, %v", all, err)
	}

	// The earlier process cannot do any harm.
	err = errors.Join(old.Emit(Event{Kind: Epoch, Epoch: 3, Step: 30, Values: Values{Loss: 9}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := saveEpoch(old, "meta", 3); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old attempt saved: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "stages", "meta", "*.tmp")); left != nil {
		t.Errorf("%v is left", left)
	}
	status := attemptPath(dir, "meta", 1, ".json")
	if err := errors.Join(os.Remove(status), os.Mkdir(status, 0o755)); err != nil { // writing it fails
		t.Fatal(err)
	}
	if err := old.SetPhase(Running); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old attempt could not write its status: %v", err)
	}
	if err := errors.Join(os.Remove(status), old.SetPhase(Running)); err != nil {
		t.Fatal(err)
	}
	for epoch := 3; epoch <= 4; epoch++ {
		if err := errors.Join(next.Emit(Event{Kind: Epoch, Epoch: epoch, Step: 10 * epoch, Values: Values{Loss: 2}}), saveEpoch(next, "meta", epoch)); err != nil {
			t.Fatal(err)
		}
	}
	last := checkpointAt("meta", 4)
	if err := next.Save(last); err != nil {
		t.Fatal(err)
	}
	mine := checkpointAt("meta", 4)
	mine.Path, mine.SHA256 = filepath.Join(dir, "stages", "meta", "checkpoint-4.a1.safetensors"), "0"
	if err := old.FinishStage(mine, nil); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old attempt ended the stage: %v", err)
	}
	if err := next.FinishStage(last, nil); err != nil {
		t.Fatal(err)
	}
	// Not even just after superseded has returned nil.
	if err := old.putOnce(filepath.Join(dir, "stages", "meta", "done"), nil); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the stage was ended twice: %v", err)
	}
	// The stage cannot be started again either.
	if _, err := OpenStage(t.Context(), dir, "meta", Claim{Job: "7"}); !errors.Is(err, ErrDone) {
		t.Errorf("a stage that is done: %v", err)
	}
	if final, err := LoadFinal(dir, "meta"); err != nil || filepath.Base(final.Path) != "checkpoint-4.a2.safetensors" {
		t.Errorf("ended with %+v, %v", final, err)
	}

	state, err := ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	st := state.Stage("meta")
	if st.Phase != Finished || st.Attempt != 2 || st.Requeues != 1 || st.Host != "b" || st.Attempts != 2 {
		t.Errorf("the stage is %+v", st)
	}
	var loss []float64
	for _, p := range st.Points {
		loss = append(loss, p.Values[Loss])
	}
	if !slices.Equal(loss, []float64{1, 1, 2, 2}) {
		t.Errorf("the curve is %v", loss)
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestSupersededIsTold checks that an attempt that saves nothing also notices its successor.
func TestSupersededIsTold(t *testing.T) {
	t.Parallel()
	dir := closedRun(t)
	old := stageRun(t, dir, "meta", Claim{Job: "7"})
	stageRun(t, dir, "meta", Claim{Job: "7"})
	select {
	case <-old.Lost():
	case <-time.After(3 * beatEvery):
		t.Error("not told")
	}
}

func TestFruitless(t *testing.T) {
	dir := closedRun(t)
	attempt := func(job string, epochs ...int) {
		t.Helper()
		r := stageRun(t, dir, "meta", Claim{Job: job})
		if _, err := r.Resume("meta"); err != nil {
			t.Fatal(err)
		}
		for _, e := range epochs {
			if err := saveEpoch(r, "meta", e); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		job    string
		epochs []int
		want   int
	}{
		{"7", nil, 1}, {"7", nil, 2}, {"7", []int{1}, 0},
		{"7", []int{1}, 1}, // the position at which it started
		{"7", nil, 2}, {"7", []int{2, 3}, 0}, {"7", nil, 1}, {"8", nil, 1},
	} {
		attempt(c.job, c.epochs...)
		if got, err := FruitlessAttempts(dir, "meta", c.job); err != nil || got != c.want {
			t.Errorf("after attempt %d: %d, %v; want %d", i+1, got, err, c.want)
		}
	}
}

// TestModulesSideBySide checks that all ways of reading the stages of several processes, with
// an incomplete line, give the same state.
func TestModulesSideBySide(t *testing.T) {
	t.Parallel()
	dir := closedRun(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	emit := func(r *Run, seconds int, e Event) {
		t.Helper()
		e.Time = at.Add(time.Duration(seconds) * time.Second)
		if err := r.Emit(e); err != nil {
			t.Fatal(err)
		}
	}
	plan := []StagePlan{{Stage: "module-1", Epochs: 2, Steps: 20, Cost: 1}, {Stage: "module-2", Epochs: 2, Steps: 20, Cost: 1}}
	one, two := stageRun(t, dir, "module-1", Claim{}), stageRun(t, dir, "module-2", Claim{})
	emit(two, 1, Event{Kind: Attempt, Plan: plan, Host: "b"})
	emit(one, 0, Event{Kind: Attempt, Plan: plan, Host: "a"})
	emit(one, 2, Event{Kind: StageStart, Epochs: 2, Steps: 20})
	emit(two, 3, Event{Kind: StageStart, Epochs: 2, Steps: 20})
	emit(one, 4, Event{Kind: Epoch, Epoch: 1, Step: 10})
	emit(two, 5, Event{Kind: Error, Message: "no memory"})

	state, err := ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if state.Phase != Running || state.Stage("module-1").Phase != Running || state.Stage("module-2").Phase != Failed {
		t.Errorf("one fails while the other trains: %s, %+v", state.Phase, state.Stages)
	}
	if state.Stages[0].Name != "module-1" || state.Elapsed != 5 {
		t.Errorf("the first stage is %s, elapsed %v", state.Stages[0].Name, state.Elapsed)
	}
	emit(one, 6, Event{Kind: Interrupted, Message: "stopped"})
	if err := os.WriteFile(attemptPath(dir, "module-2", 2, ".jsonl"), []byte(`{"time":"2026-01-02T03:05:00Z","kind":"att`), 0o600); err != nil {
		t.Fatal(err)
	}
	if state, err = ReadState(t.Context(), dir); err != nil || state.Phase != Failed || state.Stage("module-1").Phase != Stopped {
		t.Errorf("one stopped, one failed: %s, %v", state.Phase, err)
	}
	events, err := ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s.%d", e.Kind, e.Stage, e.Attempt))
	}
	want := []string{"attempt module-1.1", "attempt module-2.1", "stage-start module-1.1", "stage-start module-2.1", "epoch module-1.1",
		"error module-2.1", "interrupted module-1.1"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}

	// A follower sees stages that another process starts later.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	n := 0
	for e, err := range Follow(ctx, dir) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == len(want) {
			late := stageRun(t, dir, "assemble", Claim{})
			emit(late, 10, Event{Kind: Attempt})
		}
		if e.Stage == "assemble" {
			return
		}
	}
	t.Error("the attempt that came later was not seen")
}

func TestLivenessOfStages(t *testing.T) {
	dir := closedRun(t)
	now := time.Now()
	is := func(want Alive, phase Phase) {
		t.Helper()
		l, err := ReadLiveness(dir, now)
		if err != nil || l.Alive != want || l.Status.Phase != phase {
			t.Errorf("%v, phase %v, %v; want %v, %v", l.Alive, l.Status.Phase, err, want, phase)
		}
	}
	is(IsFinished, Stopped)
	one := stageRun(t, dir, "module-1", Claim{})
	two := stageRun(t, dir, "module-2", Claim{})
	is(IsRunning, Running)
	elsewhere(t, one, now)
	if err := errors.Join(two.Finish(Failed, "no memory"), two.Close()); err != nil {
		t.Fatal(err)
	}
	is(IsRunning, Running)
	elsewhere(t, one, now.Add(-time.Minute))
	is(IsStalled, Running)
	if err := errors.Join(one.Finish(Stopped, ""), one.Close()); err != nil {
		t.Fatal(err)
	}
	is(IsFinished, Stopped)

	whole, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(whole.Finish(Submitted, ""), whole.Close()); err != nil {
		t.Fatal(err)
	}
	is(IsAway, Submitted)
	last := stageRun(t, dir, "module-1", Claim{})
	is(IsRunning, Running)
	if err := errors.Join(last.FinishRun(), last.Close()); err != nil {
		t.Fatal(err)
	}
	is(IsFinished, Finished)
}

func TestAttemptNames(t *testing.T) {
	dir := closedRun(t)
	if err := os.MkdirAll(filepath.Join(dir, "attempts"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meta.1.jsonl", "meta.10.jsonl", "meta.2.jsonl", "a.b.1.jsonl", "meta.01.jsonl", "meta.0.jsonl", "meta.jsonl", "meta.1.json", "slurm-1.out", "x.-1.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, "attempts", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := listAttempts(dir)
	want := attemptList{{"a.b", 1}, {"meta", 1}, {"meta", 2}, {"meta", 10}}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v, %v; want %v", all, err, want)
	}
	if got := all.newest(); !slices.Equal(got, attemptList{{"a.b", 1}, {"meta", 10}}) {
		t.Errorf("newest %v", got)
	}
	if all.latest("meta") != 10 || all.latest("module-1") != 0 {
		t.Error("latest")
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("checkpoint-3-40.a2.safetensors")
	f.Add("checkpoint-3.safetensors")
	f.Fuzz(func(t *testing.T, name string) {
		if p, ok := parsePosition(name); ok && p.fileName() != name {
			t.Errorf("%q is read as %+v", name, p)
		}
	})
}

// A damaged status of one attempt does not hide the other attempts.
func TestUnreadAttempt(t *testing.T) {
	whole := newRun(t)
	dir := whole.Dir()
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"module-1", "module-2"} {
		r, err := OpenStage(t.Context(), dir, stage, Claim{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
	path := attemptPath(dir, "module-1", 1, ".json")
	if err := os.WriteFile(path, []byte(`{"phase":"run`), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := ReadAttempts(dir, time.Now())
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if torn := all[0]; torn.Alive != IsStalled || torn.Status.Stage != "module-1" || !strings.Contains(torn.Status.Message, path) {
		t.Errorf("the torn one: %+v", torn)
	}
	if other := all[1]; other.Alive != IsRunning || other.Status.Stage != "module-2" {
		t.Errorf("the other: %+v", other)
	}
}
