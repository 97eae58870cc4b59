package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hatchery/engine/runs"
	"hatchery/presets"
)

var day = time.Date(2026, 1, 31, 14, 0, 0, 0, time.UTC)

// folder writes the folder of a run. If phase is Running, its process runs on another
// machine.
func folder(t *testing.T, dir, events string, phase runs.Phase) {
	t.Helper()
	c, err := presets.Load("quickstart", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, err := json.Marshal(runs.Status{Phase: phase, PID: 1, Host: "elsewhere", Started: day, Heartbeat: day.AddDate(1000, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"config.toml": c.TOML(), "events.jsonl": []byte(events), "status.json": status} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func event(kind, stage string, epoch int, top1 float64) string {
	at := day.Add(time.Duration(epoch) * time.Minute).Format(time.RFC3339)
	return fmt.Sprintf(`{"time":%q,"kind":%q,"stage":%q,"epoch":%d,"step":%d,"values":{"top1":%g}}`+"\n", at, kind, stage, epoch, 10*epoch, top1)
}

// until returns the first snapshot for which ok returns true.
func until(t *testing.T, ch <-chan Snapshot, ok func(Snapshot) bool) Snapshot {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case s, open := <-ch:
			if !open {
				t.Fatal("no more snapshots")
			}
			if ok(s) {
				return s
			}
		case <-deadline:
			t.Fatal("no such snapshot")
		}
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, event("stage-start", "meta", 0, 0)+"garbage\n{\"kind\":7}\n"+event("eval", "meta", 1, 50), runs.Running)
	ctx, cancel := context.WithCancel(t.Context())
	ch := Follow(ctx, dir, 10*time.Millisecond)
	first := until(t, ch, func(s Snapshot) bool { return s.Events == 2 })
	if first.Skipped != 2 {
		t.Errorf("%d lines skipped, want the 2 that are not events", first.Skipped)
	}
	if got, want := first.Seconds[StageEpoch{"meta", 1}], 60.0; got != want {
		t.Errorf("epoch 1 ended after %g s, want %g", got, want)
	}

	f, err := os.OpenFile(filepath.Join(dir, "events.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := event("eval", "meta", 2, 60)
	f.WriteString(next[:20]) // incomplete
	f.WriteString(next[20:])
	second := until(t, ch, func(s Snapshot) bool { return s.Events == 3 })
	if second.Skipped != 2 {
		t.Errorf("%d lines skipped after a torn one, want 2", second.Skipped)
	}
	if n, m := len(first.State.Stages[0].Points), len(second.State.Stages[0].Points); n != 1 || m != 2 {
		t.Errorf("%d points, then %d: want 1, unchanged, and 2", n, m)
	}

	cancel()
	for range ch { // it is closed when nothing reads the run any more
	}
}

// TestFollowSilent checks that nothing is sent while nothing changes.
func TestFollowSilent(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, event("stage-start", "meta", 0, 0), runs.Finished)
	ctx, cancel := context.WithCancel(t.Context())
	ch := Follow(ctx, dir, time.Millisecond)
	until(t, ch, func(s Snapshot) bool { return s.Events == 1 && !s.Reading })
	time.AfterFunc(300*time.Millisecond, cancel)
	for s := range ch {
		t.Errorf("a snapshot of %d events without a change", s.Events)
	}
}

// TestFollowReads checks that Reading becomes false at the end of a long journal.
func TestFollowReads(t *testing.T) {
	dir := t.TempDir()
	folder(t, dir, event("stage-start", "meta", 0, 0)+strings.Repeat(event("epoch", "meta", 1, 1), 2001), runs.Finished)
	ch := Follow(t.Context(), dir, 200*time.Millisecond)
	// The contents of the first snapshots depend on timing.
	until(t, ch, func(s Snapshot) bool { return s.Events == 2002 && !s.Reading })
}

func TestFollowMissing(t *testing.T) {
	ch := Follow(t.Context(), filepath.Join(t.TempDir(), "none"), time.Millisecond)
	if s := until(t, ch, func(s Snapshot) bool { return s.Err != nil }); s.State == nil {
		t.Error("an error without a state")
	}
	for range ch {
	}
}

func TestUsage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	var m meter
	now := time.Now()
	if u := m.read(os.Getpid(), now); u.Memory < 1<<20 || u.Cores != 0 {
		t.Errorf("this process uses %+v at first", u)
	}
	m.ticks -= 150 // as if they had been used since
	if u := m.read(os.Getpid(), now.Add(time.Second)); u.Cores < 1.5 || u.Cores > 2.5 {
		t.Errorf("%.2f cores, want the 1.5 and what the test took", u.Cores)
	}
	if u := m.read(1<<30, now); u != (Usage{}) {
		t.Errorf("no process uses %+v", u)
	}
}

func TestScan(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	s := &Scanner{Root: root}
	if all, err := s.Scan(t.Context(), day); err != nil || len(all) != 0 {
		t.Errorf("a missing folder has %v, %v", all, err)
	}
	// This journal is longer than the part that is read.
	long := event("stage-start", "meta", 0, 0) + strings.Repeat(event("step", "meta", 3, 1), 2000) +
		event("eval", "module-2", 4, 61.5) + "torn"
	folder(t, filepath.Join(root, "a"), long, runs.Running)
	folder(t, filepath.Join(root, "b"), event("eval", "e2e", 9, 70)+`{"kind":"result","method":"assembling","values":{"top1":81}}`+"\n", runs.Finished)
	folder(t, filepath.Join(root, ".hidden"), "", runs.Finished)
	if err := os.MkdirAll(filepath.Join(root, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		all, err := s.Scan(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, e := range all {
			v, ok := e.Top1()
			got[e.ID] = fmt.Sprintf("%s %d %g %v %v", e.Stage, e.Epoch, v, ok, e.Err != nil)
		}
		want := map[string]string{"a": "module-2 4 61.5 true false", "b": "e2e 9 81 true false", "broken": " 0 0 false true"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("listed %v, want %v", got, want)
		}
	}
	folder(t, filepath.Join(root, "a"), long+"\n"+event("eval", "module-2", 5, 62), runs.Running)
	all, err := s.Scan(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := all[1].Top1(); v != 62 {
		t.Errorf("after another epoch %s has %g, want 62", all[1].ID, v)
	}
	// A resumed stage continues from its checkpoint and repeats later epochs.
	folder(t, filepath.Join(root, "a"), event("eval", "meta", 2, 50)+event("eval", "meta", 3, 60)+event("resume", "meta", 2, 0), runs.Running)
	if all, err = s.Scan(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	if v, _ := all[1].Top1(); all[1].Epoch != 2 || v != 50 {
		t.Errorf("resumed after epoch 2, %s is at epoch %d with %g, want 2 with 50", all[1].ID, all[1].Epoch, v)
	}
}

// TestFollowDamaged checks that a stage with a done file is done although the journal has
// lost its events.
func TestFollowDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	folder(t, dir, "", runs.Finished)
	if err := os.MkdirAll(runs.StageDir(dir, "meta"), 0o700); err != nil {
		t.Fatal(err)
	}
	done := `{"stage":"meta","time":"2026-01-31T14:23:01Z","epoch":2,"step":8,"checkpoint":"c","sha256":"00","values":{"top1":50}}`
	if err := os.WriteFile(filepath.Join(runs.StageDir(dir, "meta"), "done"), []byte(done), 0o600); err != nil {
		t.Fatal(err)
	}
	s := until(t, Follow(t.Context(), dir, time.Millisecond), func(s Snapshot) bool { return !s.Reading })
	st := s.State.Stage("meta")
	if s.State.Phase != runs.Finished || s.State.Progress() != 1 || st == nil || st.Phase != runs.Finished || st.Results[runs.Top1] != 50 || len(s.State.Warnings) != 1 {
		t.Errorf("%+v", s.State)
	}
}
