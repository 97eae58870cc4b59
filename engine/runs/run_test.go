package runs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// newRun creates a run that is closed at the end of the test.
func newRun(t *testing.T) *Run {
	t.Helper()
	r, err := Create(t.TempDir(), "test", []byte("name = \"test\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestCreateMakesAWholeFolder checks the files of a new run and their modes: others can read
// them as far as the umask allows, and only the owner can write.
func TestCreateMakesAWholeFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "deep", "runs")
	r, err := Create(root, "a", []byte("seed = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	like := filepath.Join(t.TempDir(), "like")
	if err := errors.Join(os.Mkdir(like, 0o755), os.WriteFile(filepath.Join(like, statusFile), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", statusFile} {
		info, err := os.Stat(filepath.Join(r.Dir(), name))
		want, likeErr := os.Stat(filepath.Join(like, name))
		if err := errors.Join(err, likeErr); err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want.Mode() {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), want.Mode())
		}
	}
	entries, _ := os.ReadDir(root)
	if len(entries) != 1 || r.ID() != "a" {
		t.Errorf("root holds %v, run %s; want only a", entries, r.ID())
	}
	if config, err := ReadConfig(r.Dir()); err != nil || string(config) != "seed = 1\n" {
		t.Errorf("config %q, %v", config, err)
	}
	if l, err := ReadLiveness(r.Dir(), time.Now()); err != nil || l.Alive != IsRunning {
		t.Errorf("liveness %v, %v; want running", l, err)
	}
	if _, err := r.Log().Write([]byte("hello\n")); err != nil {
		t.Error(err)
	}
}

func TestCreateRefusesATakenID(t *testing.T) {
	r := newRun(t)
	root := filepath.Dir(r.Dir())
	before, _ := os.ReadFile(filepath.Join(r.Dir(), statusFile))
	if _, err := Create(root, "test", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	after, _ := os.ReadFile(filepath.Join(r.Dir(), statusFile))
	if string(before) != string(after) {
		t.Error("the run that was there changed")
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCreateLosingARaceLeavesNothing(t *testing.T) {
	root := t.TempDir()
	errs := make(chan error)
	for range 8 {
		go func() {
			r, err := Create(root, "same", nil)
			if err == nil {
				err = r.Close()
			}
			errs <- err
		}()
	}
	won := 0
	for range 8 {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("error %v, want fs.ErrExist", err)
		}
	}
	if entries, _ := os.ReadDir(root); won != 1 || len(entries) != 1 {
		t.Errorf("%d winners, root holds %v", won, entries)
	}
}

// TestCreateBelowAFile uses a file in place of the folder, so that even root fails.
func TestCreateBelowAFile(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(file, "runs"), "a", nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names the file", err)
	}
	if entries, _ := os.ReadDir(base); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestCreateThatFailsLateRemovesItsRoot uses a root that just fits into the longest path of the
// system, so that creating the run in it fails.
func TestCreateThatFailsLateRemovesItsRoot(t *testing.T) {
	parent := t.TempDir()
	for len(parent) < 3800 {
		parent = filepath.Join(parent, strings.Repeat("d", 150))
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		t.Skip(err)
	}
	root := filepath.Join(parent, strings.Repeat("r", 4050-len(parent)))
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Skip(err)
	}
	os.Remove(root)
	if _, err := Create(root, strings.Repeat("a", maxName), nil); err == nil {
		t.Error("no error")
	}
	if entries, _ := os.ReadDir(parent); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCreateInAReadOnlyRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o500); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(root, "probe")
	if os.WriteFile(probe, nil, 0o600) == nil {
		os.Remove(probe)
		t.Skip("the superuser can write to any folder; TestCreateBelowAFile stands in")
	}
	if _, err := Create(root, "a", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestOpenRefusesASecondWriter(t *testing.T) {
	r := newRun(t)
	_, err := Open(r.Dir())
	if !errors.Is(err, ErrLocked) || !regexp.MustCompile(`pid \d+ on \S+ since \d`).MatchString(err.Error()) {
		t.Fatalf("error %v, want ErrLocked with the holder", err)
	}
	if err := r.Emit(Event{Kind: Warning, Message: "still here"}); err != nil {
		t.Errorf("the first writer: %v", err)
	}
	r.Close()
	again, err := Open(r.Dir())
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

func TestOpenRefusesOtherFolders(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is not a run folder") {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCloseWithoutFinishIsInterrupted(t *testing.T) {
	r := newRun(t)
	if err := r.SetStage("meta", "epoch 1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := ReadStatus(r.Dir())
	if err != nil || s.Phase != Stopped || s.Stage != "meta" {
		t.Errorf("status %+v, %v; want interrupted in meta", s, err)
	}
	r, err = Open(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	r.Finish(Finished, "")
	r.Close()
	if l, _ := ReadLiveness(r.Dir(), time.Now()); l.String() != "done" {
		t.Errorf("liveness %q, want done", l)
	}
}

func TestIDs(t *testing.T) {
	now := time.Date(2026, 1, 31, 15, 23, 1, 0, time.FixedZone("CET", 3600))
	for name, want := range map[string]string{
		"quickstart":             `^quickstart-20260131-142301-[a-z2-7]{4}$`,
		"DeiT T/32 ü":            `^deit-t-32-20260131-142301-[a-z2-7]{4}$`,
		"../..":                  `^run-20260131-142301-[a-z2-7]{4}$`,
		strings.Repeat("x", 300): `^x{79}-20260131-142301-[a-z2-7]{4}$`,
	} {
		id := NewID(name, now)
		if !regexp.MustCompile(want).MatchString(id) {
			t.Errorf("NewID(%q) = %q, want %s", name, id, want)
		}
		if err := checkName("run id", id); err != nil {
			t.Error(err)
		}
	}
	if NewID("a", now) == NewID("a", now) {
		t.Error("two ids of one second are the same")
	}
	for _, bad := range []string{"", ".", "..", ".a", "-a", "a/b", "a b", "ü", "a\x00", strings.Repeat("a", 101)} {
		if _, err := Create(t.TempDir(), bad, nil); err == nil {
			t.Errorf("id %q was taken", bad)
		}
	}
}

func TestObserve(t *testing.T) {
	r := newRun(t)
	var seen []int
	r.Observe(func(e Event) { seen = append(seen, e.Step) })
	for step := range 3 {
		if err := r.Emit(Event{Kind: Step, Step: step}); err != nil {
			t.Fatal(err)
		}
		if len(seen) != step+1 || seen[step] != step {
			t.Fatalf("seen %v after step %d", seen, step)
		}
	}
	r.events.file.Close()
	if r.Emit(Event{Kind: Step, Step: 3}) == nil || len(seen) != 3 {
		t.Errorf("an event that was not written was seen: %v", seen)
	}
}
