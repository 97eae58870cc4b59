package launch

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hatchery/engine/runs"
)

func enqueue(t *testing.T, root string, epochs int) (dir string) {
	t.Helper()
	dir, err := Start(t.Context(), root, config(t, epochs), true)
	if dir != "" {
		killLater(t, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestQueue: runs wait for the one under way, leave the queue when they are
// stopped or die, and begin one after another in the order that was asked for,
// even if the one under way crashes.
func TestQueue(t *testing.T) {
	root := t.TempDir()
	busy := start(t, root, endless)
	dirs := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		dirs[name] = enqueue(t, root, 2)
	}
	order := func() string {
		ids, err := Queued(root)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, id := range ids {
			for name, dir := range dirs {
				if strings.HasSuffix(dir, id) {
					names = append(names, name)
				}
			}
		}
		return fmt.Sprint(names)
	}
	move := func(name string, by int, want string) {
		t.Helper()
		if err := MoveQueued(t.Context(), root, strings.TrimPrefix(dirs[name], root+"/"), by); err != nil {
			t.Fatal(err)
		}
		if got := order(); got != want {
			t.Errorf("%s moved by %d: %s, want %s", name, by, got, want)
		}
	}
	if got := order(); got != "[a b c d]" {
		t.Errorf("queue %s", got)
	}
	move("d", -2, "[a d b c]")
	move("a", -1, "[a d b c]")
	move("b", 5, "[a d c b]")
	if err := MoveQueued(t.Context(), root, "nobody", 1); err == nil {
		t.Error("a run that is not in the queue was moved")
	}

	if live, err := runs.ReadLiveness(dirs["a"], time.Now()); err != nil || live.Alive != runs.IsRunning || live.String() != "queued" {
		t.Errorf("liveness %v, %v; want queued", live, err)
	}
	if _, err := Pause(t.Context(), dirs["a"]); err == nil || !strings.Contains(err.Error(), "not begun") {
		t.Errorf("pausing a queued run: %v", err)
	}
	if _, err := Stop(t.Context(), dirs["a"]); err != nil {
		t.Error(err)
	}
	if phase(t, dirs["a"]) != runs.Stopped || order() != "[d c b]" {
		t.Errorf("status %v, queue %s", phase(t, dirs["a"]), order())
	}
	if err := syscall.Kill(pid(t, dirs["c"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if live, err := Wait(t.Context(), dirs["c"], nil); err != nil || live.Alive != runs.IsCrashed || order() != "[d b]" {
		t.Errorf("%v, %v, queue %s", live, err, order())
	}
	if err := Resume(t.Context(), dirs["a"], true); err != nil {
		t.Fatal(err)
	}
	if got := order(); got != "[d b a]" {
		t.Errorf("queue %s", got)
	}

	moreEpochs(t, busy, 1)
	for _, name := range []string{"d", "b", "a"} {
		if s := state(t, dirs[name]); s.Phase != runs.Queued {
			t.Fatalf("%s is %v beside the run under way", name, s.Phase)
		}
	}
	if err := syscall.Kill(pid(t, busy), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var times []runs.Event
	for _, name := range []string{"d", "b", "a"} {
		if live, err := Wait(t.Context(), dirs[name], nil); err != nil || live.Status.Phase != runs.Finished {
			t.Fatalf("%s: %v, %v", name, live, err)
		}
		for _, e := range mustRead(t, dirs[name]) {
			if e.Kind == runs.RunStart || e.Kind == runs.Done {
				times = append(times, e)
			}
		}
		if s := state(t, dirs[name]); s.Elapsed > 60 {
			t.Errorf("%s took %v s", name, s.Elapsed)
		}
	}
	if !slices.IsSortedFunc(times, func(a, b runs.Event) int { return a.Time.Compare(b.Time) }) || len(times) != 6 {
		t.Errorf("they overlap: %+v", times)
	}
	if got := order(); got != "[]" {
		t.Errorf("queue %s", got)
	}
}
