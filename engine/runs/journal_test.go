package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEventsSurviveJSON(t *testing.T) {
	r := newRun(t)
	when := time.Date(2026, 1, 31, 14, 23, 1, 5e6, time.UTC)
	want := []Event{
		{Time: when, Kind: RunStart, Plan: []StagePlan{{Stage: "meta", Method: "assembling", Epochs: 3, Steps: 30, Cost: 1.5}}},
		{Time: when, Kind: Step, Stage: "meta", Epoch: 1, Step: 2, Values: Values{Loss: math.NaN(), "a": math.Inf(1), "b": math.Inf(-1), LR: 1e-300}},
		{Time: when, Kind: Warning, Message: "two\nlines, \"quotes\" and <ü>\x00"},
		{Time: when, Kind: Result, Method: "e2e", Values: Values{Top1: 0.1}},
	}
	for _, e := range want {
		if err := r.Emit(e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadEvents(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(got[1].Values[Loss]) {
		t.Errorf("NaN came back as %v", got[1].Values[Loss])
	}
	got[1].Values[Loss], want[1].Values[Loss] = 0, 0 // NaN is not equal to itself
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v\nwant\n%+v", got, want)
	}
	text, _ := os.ReadFile(filepath.Join(r.Dir(), eventsFile))
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestTornTailIsCutWhereverItTears(t *testing.T) {
	r := newRun(t)
	r.Emit(Event{Kind: Warning, Message: "first"})
	r.Emit(Event{Kind: Warning, Message: "second"})
	r.Close()
	path := filepath.Join(r.Dir(), eventsFile)
	whole, _ := os.ReadFile(path)
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(string(whole[:n]), "\n")
		before, err := ReadEvents(r.Dir())
		if err != nil || len(before) != lines {
			t.Fatalf("cut at %d: reader sees %d events, %v; want %d", n, len(before), err, lines)
		}
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.append(Event{Kind: Done}), j.close()); err != nil {
			t.Fatal(err)
		}
		after, err := ReadEvents(r.Dir())
		if err != nil || len(after) != lines+1 || after[lines].Kind != Done {
			t.Fatalf("cut at %d: %d events after reopening, %v; want %d", n, len(after), err, lines+1)
		}
	}
}

func TestTornTailLongerThanTheReadBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), eventsFile)
	os.WriteFile(path, []byte("{}\n"+strings.Repeat("x", 10000)), 0o600)
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	j.close()
	if data, _ := os.ReadFile(path); string(data) != "{}\n" {
		t.Errorf("%d bytes are left, want 3", len(data))
	}
}

// stingy writes only a part of each line while short is set.
type stingy struct {
	*os.File
	short bool
}

func (s *stingy) Write(p []byte) (int, error) {
	if !s.short {
		return s.File.Write(p)
	}
	n, _ := s.File.Write(p[:len(p)/2])
	return n, errors.New("no space left on device")
}

func TestAFullDiskDoesNotSpoilLaterEvents(t *testing.T) {
	r := newRun(t)
	s := &stingy{File: r.events.file.(*os.File)}
	r.events.file = s
	r.Emit(Event{Kind: Warning, Message: "one"})
	s.short = true
	for range 2 {
		if err := r.Emit(Event{Kind: Warning, Message: "lost"}); err == nil || !strings.Contains(err.Error(), eventsFile) {
			t.Errorf("error %v, want one that names the file", err)
		}
	}
	s.short = false
	r.Emit(Event{Kind: Warning, Message: "two"})
	events, err := ReadEvents(r.Dir())
	if err != nil || len(events) != 2 || events[0].Message != "one" || events[1].Message != "two" {
		t.Errorf("read %+v, %v; want one and two", events, err)
	}
}

func TestUnreadableLineBecomesAWarning(t *testing.T) {
	r := newRun(t)
	path := filepath.Join(r.Dir(), eventsFile)
	os.WriteFile(path, []byte(`{"kind":"run-start","time":"2026-01-31T14:23:01Z"}`+"\n\x00\x00\x00\n"+`{"kind":"done","time":"2026-01-31T14:23:02Z"}`+"\n"), 0o600)
	events, err := ReadEvents(r.Dir())
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v; want 3", len(events), err)
	}
	if !strings.Contains(events[1].Message, path+": skipping line 2, which is not an event") {
		t.Errorf("warning %q", events[1].Message)
	}
	s := Fold(events)
	if s.Phase != Finished || len(s.Warnings) != 1 || s.Elapsed != 1 {
		t.Errorf("state %+v", s)
	}
}

func TestFollowSeesWhatComes(t *testing.T) {
	r := newRun(t)
	path := filepath.Join(r.Dir(), eventsFile)
	r.Emit(Event{Kind: Warning, Message: "0"})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	raw, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var got []string
	for e, err := range Follow(ctx, r.Dir()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Message)
		switch len(got) {
		case 1: // a complete line, and half of a line that is replaced when the journal is reopened
			raw.WriteString(`{"kind":"warning","message":"1"}` + "\n" + `{"kind":"warning","mess`)
		case 2:
			go func() {
				time.Sleep(2 * pollEvery) // Follow has read the incomplete line
				j, err := openJournal(path)
				if err == nil {
					j.append(Event{Kind: Warning, Message: "2"})
					j.close()
				}
			}()
		case 3:
			cancel()
		}
	}
	if !reflect.DeepEqual(got, []string{"0", "1", "2"}) {
		t.Errorf("followed %q, want 0 1 2", got)
	}
}

func TestFollowWithoutARun(t *testing.T) {
	for _, err := range Follow(t.Context(), t.TempDir()) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
		return
	}
	t.Error("no error")
}

func TestConcurrentUse(t *testing.T) {
	r := newRun(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			stage := fmt.Sprintf("module-%d", w+1)
			for i := range 25 {
				r.Emit(Event{Kind: Step, Stage: stage, Step: i + 1, Message: strings.Repeat("x", 100*i)})
				r.SetStage(stage, "")
				if i%10 == 0 {
					if err := r.Save(testCheckpoint(stage, i, 0, 1)); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				if _, err := ReadEvents(r.Dir()); err != nil {
					t.Error(err)
				}
				if _, err := ReadStatus(r.Dir()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	events, err := ReadEvents(r.Dir())
	if err != nil || len(events) != 4*(25+3) {
		t.Errorf("%d events, %v; want %d", len(events), err, 4*28)
	}
	if s := Fold(events); len(s.Warnings) != 0 || len(s.Stages) != 4 {
		t.Errorf("%d stages, warnings %v", len(s.Stages), s.Warnings)
	}
}

// watched records whether all that was written to it has been synced.
type watched struct {
	*os.File
	unsynced bool
}

func (w *watched) Write(p []byte) (int, error) { w.unsynced = true; return w.File.Write(p) }
func (w *watched) Sync() error                 { w.unsynced = false; return w.File.Sync() }

// watchingDisk detects checkpoints that are renamed before the events have been synced.
type watchingDisk struct {
	osDisk
	t      *testing.T
	events *watched
}

func (d watchingDisk) rename(from, to string) error {
	if d.events.unsynced {
		d.t.Errorf("%s: a power cut now would lose the events before it", to)
	}
	return d.osDisk.rename(from, to)
}

func TestEventsAreOnDiskBeforeTheirCheckpoint(t *testing.T) {
	r := newRun(t)
	w := &watched{File: r.events.file.(*os.File)}
	r.events.file, r.disk = w, watchingDisk{t: t, events: w}
	r.Emit(Event{Kind: Epoch, Stage: "meta", Epoch: 1})
	save(t, r, 1, 0, math.NaN())
}

// TestThinnedFoldsAlike checks that leaving out superseded step events does not change the
// state, whether stages run one after another or their events alternate.
func TestThinnedFoldsAlike(t *testing.T) {
	for _, together := range []bool{false, true} {
		s := &script{now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
		s.emit(Event{Kind: RunStart, Plan: testPlan})
		for _, stage := range []string{"meta", "module-1"} {
			s.emit(Event{Kind: StageStart, Stage: stage, Epochs: 4, Steps: 12})
		}
		if together {
			for i := range 12 {
				s.train("meta", i, i+1)
				s.train("module-1", i, i+1)
			}
		} else {
			s.train("meta", 0, 7)
			s.emit(Event{Kind: Resume, Stage: "meta", Epoch: 1, Step: 3})
			s.train("meta", 3, 12)
			s.train("module-1", 0, 5)
		}
		r := newRun(t)
		for _, e := range s.events {
			if err := r.Emit(e); err != nil {
				t.Fatal(err)
			}
		}
		want := Fold(s.events)
		got, err := ReadState(t.Context(), r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("together %v: got\n%+v\nwant\n%+v", together, got, want)
		}
		n := 0
		ctx, cancel := context.WithCancel(t.Context())
		for e, err := range FollowState(ctx, r.Dir(), nil) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; e.Time.Equal(s.events[len(s.events)-1].Time) {
				cancel()
			}
		}
		cancel()
		if n >= len(s.events) {
			t.Errorf("together %v: %d of %d events were yielded, want fewer", together, n, len(s.events))
		}
	}
}

func BenchmarkReadState(b *testing.B) {
	dir := b.TempDir()
	var text []byte
	for i := range 100_000 {
		line, err := json.Marshal(Event{Time: time.Unix(int64(i), 0).UTC(), Kind: Step, Stage: "module-" + string(rune('1'+i%4)),
			Epoch: 1 + i/1000, Step: i, Values: Values{Loss: 1 / float64(i+1), LR: 1e-3, Speed: 1234.5}})
		if err != nil {
			b.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(filepath.Join(dir, eventsFile), text, 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ReadState(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
