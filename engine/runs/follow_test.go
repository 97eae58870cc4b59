package runs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// longJournal creates a run with about n events, in epochs of a hundred steps.
func longJournal(tb testing.TB, n int) (dir string, epochs int) {
	tb.Helper()
	r, err := Create(tb.TempDir(), "long", nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(r.Emit(Event{Kind: RunStart, Plan: []StagePlan{{Stage: "e2e", Steps: n}}}), r.Emit(Event{Kind: StageStart, Stage: "e2e", Steps: n}), r.Close()); err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(r.Dir(), eventsFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	const steps = 100
	for ; epochs*(steps+3) < n; epochs++ {
		for i := range steps {
			fmt.Fprintf(w, `{"time":"2026-01-31T14:00:00.000Z","kind":"step","stage":"e2e","epoch":%d,"step":%d,"values":{"images_per_second":4285.0498581262855,"loss":1.7514146566390991,"lr":0.002999999244541064}}`+"\n", epochs+1, epochs*steps+i+1)
		}
		for _, rest := range []string{
			`"kind":"eval","stage":"e2e","epoch":%d,"step":%d,"values":{"eval_loss":2.291629288196564,"top1":13}}`,
			`"kind":"epoch","stage":"e2e","epoch":%d,"step":%d,"values":{"cpu_seconds":0.0266,"loss":2.3093632459640503,"lr":0.00225025,"train_seconds":0.026765294}}`,
			`"kind":"checkpoint","stage":"e2e","epoch":%d,"step":%d,"file":"stages/e2e/checkpoint-1.safetensors"}`,
		} {
			fmt.Fprintf(w, `{"time":"2026-01-31T14:00:00.000Z",`+rest+"\n", epochs+1, (epochs+1)*steps)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return r.Dir(), epochs
}

// BenchmarkAttach reads the journal of a run with a million events.
func BenchmarkAttach(b *testing.B) {
	dir, _ := longJournal(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		_, f, err := Attach(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// Attach returns the state after all events and then yields later events, with bounded memory.
func TestAttachLong(t *testing.T) {
	dir, epochs := longJournal(t, 50_000)
	var whole *State
	var last int
	func() { // so that the events can be collected
		events, err := ReadEvents(dir)
		if err != nil {
			t.Fatal(err)
		}
		whole, last = Fold(events), len(events)
	}()
	before := heap()
	state, f, err := Attach(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := state.Stage("e2e"); len(got.Points) != epochs || got.Step != whole.Stage("e2e").Step || !reflect.DeepEqual(got.Points[epochs-1].Values, whole.Stage("e2e").Points[epochs-1].Values) {
		t.Errorf("%d of %d epochs, step %d; want those of all %d events", len(got.Points), epochs, got.Step, last)
	}
	// The curves stay in memory, a few maps per epoch, but not the journal of 10 MB.
	if took := int64(heap()) - int64(before); took > int64(epochs)*4096 {
		t.Errorf("it keeps %d bytes for %d epochs", took, epochs)
	}

	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	own, err := r.Follow()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for i := range 3 {
		if err := r.Emit(Event{Kind: Step, Stage: "e2e", Step: i}); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	close(ended)
	for name, f := range map[string]*Follower{"attached": f, "own": own} {
		var steps []int
		for e, err := range f.Events(t.Context(), ended) {
			if err != nil {
				t.Fatal(err)
			}
			steps = append(steps, e.Step)
		}
		if !slices.Equal(steps, []int{0, 1, 2}) {
			t.Errorf("%s: afterwards came the steps %v, want 0, 1 and 2", name, steps)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Reading a long journal can be cancelled.
func TestAttachInterrupted(t *testing.T) {
	dir, _ := longJournal(t, 50_000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if _, _, err := Attach(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	// Reading consecutive step events ends after some thousand lines.
	r, err := openReader(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, err := r.next(); err != nil {
		t.Fatal(err)
	}
	if at := r.streams[0].tail.offset; at > 3*maxSkipped*256 {
		t.Errorf("one call read %d bytes", at)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A line that is too long is skipped without being kept in memory, whether or not its end has
// been written.
func TestLongLine(t *testing.T) {
	for _, ended := range []bool{true, false} {
		r := newRun(t)
		journal := filepath.Join(r.Dir(), eventsFile)
		f, err := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		write := func(text string) {
			if _, err := f.WriteString(text); err != nil {
				t.Fatal(err)
			}
		}
		tail, err := openTail(journal, true)
		if err != nil {
			t.Fatal(err)
		}
		defer tail.file.Close()
		zeros := strings.Repeat("\x00", 8*maxLine)
		before := heap()
		if write(zeros); !ended {
			if _, err := tail.next(); !errors.Is(err, io.EOF) {
				t.Fatalf("a line without an end is %v", err)
			}
			write(zeros)
		}
		write("\n{\"kind\":\"epoch\",\"stage\":\"meta\",\"epoch\":7}\n")
		if e, err := tail.next(); err != nil || e.Kind != Warning || !strings.Contains(e.Message, "skipping line 1, which is not an event: it is longer than any event") {
			t.Errorf("%+v, %v; want a warning of line 1", e, err)
		}
		if e, err := tail.next(); err != nil || e.Epoch != 7 {
			t.Errorf("after it comes %+v, %v", e, err)
		}
		if took := int64(heap()) - int64(before); took > 2*maxLine {
			t.Errorf("%d bytes of it are kept", took)
		}
	}
}

// The number of warnings is bounded, however many lines are broken.
func TestManyWarnings(t *testing.T) {
	s := Fold(nil)
	for i := range 10 * maxNotes {
		s.Apply(Event{Kind: Warning, Message: fmt.Sprint(i)})
	}
	if n := len(s.Warnings); n < maxNotes || n >= 2*maxNotes || s.Warnings[n-1].Message != fmt.Sprint(10*maxNotes-1) {
		t.Errorf("%d warnings, the last %+v", n, s.Warnings[n-1])
	}
}

// A run whose process is gone is not running, whatever its last event is.
func TestSettle(t *testing.T) {
	running := Fold([]Event{
		{Kind: RunStart, Plan: []StagePlan{{Stage: "meta"}, {Stage: "e2e"}}}, {Kind: StageStart, Stage: "meta"}, {Kind: StageEnd, Stage: "meta"}, {Kind: StageStart, Stage: "e2e"},
	})
	for _, c := range []struct {
		live Liveness
		want string
	}{
		{Liveness{Alive: IsRunning}, "running: done running "},
		{Liveness{Alive: IsStalled}, "running: done running "},
		{Liveness{Alive: IsCrashed}, "interrupted: done interrupted "},
		{Liveness{Alive: IsFinished, Status: Status{Phase: Stopped}}, "interrupted: done interrupted "},
		{Liveness{Alive: IsFinished, Status: Status{Phase: Failed, Message: "full"}}, "failed: done interrupted full"},
	} {
		s := running.Clone()
		s.Settle(c.live)
		if got := fmt.Sprintf("%s: %s %s %s", s.Phase, s.Stages[0].Phase, s.Stages[1].Phase, s.Message); got != c.want {
			t.Errorf("%s: %q, want %q", c.live.Alive, got, c.want)
		}
	}
	if running.Phase != Running || running.Stages[1].Phase != Running {
		t.Error("a clone is not a copy")
	}
}

func TestFolders(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "a"), 0o700), os.Mkdir(filepath.Join(root, ".b"), 0o700), os.WriteFile(filepath.Join(root, "c"), nil, 0o600),
		os.Symlink("a", filepath.Join(root, "d")), os.Symlink("nowhere", filepath.Join(root, "e")), os.Symlink("c", filepath.Join(root, "f"))); err != nil {
		t.Fatal(err)
	}
	if got, err := Folders(root); err != nil || !slices.Equal(got, []string{"a", "d", "e"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Folders(filepath.Join(root, "none")); err != nil || len(got) > 0 {
		t.Errorf("of a folder that is not there %v, %v", got, err)
	}
}

// A line that a resumed run replaces while it is being read is read again.
func TestReplacedLine(t *testing.T) {
	r := newRun(t)
	path := filepath.Join(r.Dir(), eventsFile)
	putFile(t, path, []byte(`{"kind":"warning","mess{"kind":"warning","message":"a"}`+"\n"+`{"kind":"warning","message":"b"}`+"\n"))
	tl, err := openTail(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer tl.file.Close()
	if err := tl.fill(); err != nil { // reads the mixture
		t.Fatal(err)
	}
	putFile(t, path, []byte(`{"kind":"warning","message":"a"}`+"\n"+`not an event`+"\n"+`{"kind":"warning","message":"b"}`+"\n"))
	var got []string
	for {
		e, err := tl.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Message)
	}
	if len(got) != 3 || got[0] != "a" || !strings.Contains(got[1], "skipping line 2, which is not an event") || got[2] != "b" {
		t.Errorf("%q", got)
	}
}
