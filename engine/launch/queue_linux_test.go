package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

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

// TestQueue checks that runs wait for the current one, leave the queue when they are stopped or
// die, and start one after another in the requested order, even if the current one crashes.
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
	if _, err := Pause(t.Context(), dirs["a"]); err == nil || !strings.Contains(err.Error(), "not started") {
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

// Different spellings of a run's folder, with a trailing slash or ".", mean the same run in the
// same queue.
func TestQueueNames(t *testing.T) {
	root := t.TempDir()
	busy := start(t, root, endless)
	if _, err := Stop(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	if err := Resume(t.Context(), busy+"/", false); err != nil {
		t.Fatal(err)
	}
	waiting := enqueue(t, root, endless)
	if s := state(t, waiting); s.Phase != runs.Queued {
		t.Fatalf("beside the run that was resumed the other is %s", s.Phase)
	}
	for _, written := range []string{waiting + "/", waiting + "/.", "."} {
		if _, err := Stop(t.Context(), waiting); err != nil {
			t.Fatal(err)
		}
		t.Chdir(waiting)
		if err := Resume(t.Context(), written, true); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if got, err := Queued(root); err != nil || len(got) != 1 || got[0] != filepath.Base(waiting) {
			t.Errorf("resumed as %s: the queue is %v, %v", written, got, err)
		}
	}
	for _, dir := range []string{busy, waiting} {
		if inside, _ := filepath.Glob(filepath.Join(dir, ".*")); len(inside) > 0 {
			t.Errorf("a run's folder has %v", inside)
		}
	}
}

// Waiting for the queue's lock can be cancelled, and reading the queue does not need the lock.
// Runs that do not exist are dropped.
func TestQueueLock(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(queuePath(root, "queue"), []byte(`["gone"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(queueLockPath(root))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if ids, err := Queued(root); err != nil || len(ids) > 0 {
		t.Errorf("the queue of a run that is gone is %v, %v", ids, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := MoveQueued(ctx, root, "x", 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the lock ended with %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := changeQueue(t.Context(), root, func(ids []string) []string { return ids }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(queuePath(root, "queue")); err != nil || strings.Contains(string(text), "gone") {
		t.Errorf("the queue's file has %s, %v", text, err)
	}
}

// In a folder of several users, the queue belongs to one of them. The others get an error before
// anything is created.
func TestOthersQueue(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can act as another user")
	}
	root := t.TempDir()
	if err := changeQueue(t.Context(), root, func([]string) []string { return []string{"x"} }); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(queueLockPath(root), 4711, -1); err != nil {
		t.Fatal(err)
	}
	dir, err := Start(t.Context(), root, config(t, 1), true)
	if !errors.Is(err, ErrOthersQueue) || dir != "" || !strings.Contains(err.Error(), "belongs to 4711; start the run without --queue") {
		t.Errorf("started %q: %v", dir, err)
	}
	if entries, _ := runs.Folders(root); len(entries) > 0 {
		t.Errorf("it made %v", entries)
	}
	// It runs without the queue.
	if _, err := Wait(t.Context(), start(t, root, 1), nil); err != nil {
		t.Error(err)
	}
}

// TestEditedInTheQueue checks that a queued run uses the config.toml at the end of the wait, and
// that it fails with the reason if that is invalid.
func TestEditedInTheQueue(t *testing.T) {
	root := t.TempDir()
	busy := start(t, root, endless)
	edited, broken, unknown := enqueue(t, root, 2), enqueue(t, root, 2), enqueue(t, root, 2)
	edit := func(dir, from, to string) {
		t.Helper()
		path := filepath.Join(dir, "config.toml")
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), from) != 1 {
			t.Fatalf("%v; %q is there %d times", err, from, strings.Count(string(text), from))
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit(edited, "\nseed = 0\n", "\nseed = 7\n")
	edit(broken, "\nseed = 0\n", "\nseed = \n")
	edit(unknown, "k = 2\n", "k = 3\n") // of 4 blocks
	if err := Kill(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	if live, err := Wait(t.Context(), edited, nil); err != nil || live.Status.Phase != runs.Finished {
		t.Fatalf("%v, %v", live, err)
	}
	o, err := runs.ReadOutcome(edited, "e2e")
	if err != nil || o.Recipe["seed"] != "7" {
		t.Errorf("trained with seed %q, %v; want 7", o.Recipe["seed"], err)
	}
	for dir, want := range map[string]string{broken: "seed", unknown: "modules.k"} {
		live, err := Wait(t.Context(), dir, nil)
		if err != nil || live.Status.Phase != runs.Failed || !strings.Contains(live.Status.Message, want) || !strings.Contains(live.Status.Message, "left the queue") {
			t.Errorf("%v, %q, %v; want failed because of %s", live, live.Status.Message, err, want)
		}
		if s := state(t, dir); s.Phase != runs.Failed || len(s.Errors) != 1 {
			t.Errorf("events: %v, %v", s.Phase, s.Errors)
		}
	}
}
