package runs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// names lists the files and the empty folders below dir.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		all = append(all, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// put creates files, and folders for names that end in a slash, with the given age.
func put(t *testing.T, dir string, age time.Duration, files ...string) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(dir, f)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if f[len(f)-1] == '/' {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, nil, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-age)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		return errors.Join(err, os.Chtimes(path, at, at))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLeftoversOfRoot checks that creating a run removes what killed processes have left of
// runs that they were creating or deleting, and nothing else.
func TestLeftoversOfRoot(t *testing.T) {
	for _, c := range []struct {
		name  string
		age   time.Duration
		files []string
		goes  bool
	}{
		{".a-123", time.Hour, []string{"config.toml", "events.jsonl", "lock", "log.txt", "status.json"}, true},
		{".a-124", time.Hour, []string{"config.toml", "events.jsonl", "lock", ".status.json7712"}, true}, // of an older version
		{".a-125", time.Hour, []string{"config.toml"}, true},
		{".deleted-b", time.Hour, []string{"config.toml", "events.jsonl", "lock", "stages/meta/done"}, true},

		{".a-126", time.Second, []string{"config.toml", "events.jsonl"}, false},      // just created
		{".deleted-c", time.Second, []string{"config.toml"}, false},                  // being deleted
		{".a-127", time.Hour, []string{"config.toml", "thesis.tex"}, false},          // has a file of the user
		{".a-128", time.Hour, []string{"config.toml", "stages/"}, false},             // of a run that has started
		{".git", time.Hour, []string{"config"}, false},                               //
		{".backup-2024-x", time.Hour, []string{"config.toml"}, false},                //
		{"a-129", time.Hour, []string{"config.toml", "events.jsonl", "lock"}, false}, // a run
	} {
		root := t.TempDir()
		put(t, filepath.Join(root, c.name), c.age, c.files...)
		r, err := Create(root, "new", nil)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, r)
		if _, err := os.Stat(filepath.Join(root, c.name)); c.goes != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s %v: %v", c.name, c.files, err)
		}
	}
}

// TestLockedStagingStays checks that a locked folder is kept, however old it is.
func TestLockedStagingStays(t *testing.T) {
	for _, name := range []string{".a-123", ".deleted-a"} {
		r := newRun(t)
		root := filepath.Dir(r.Dir())
		path := filepath.Join(root, name)
		if err := os.Rename(r.Dir(), path); err != nil {
			t.Fatal(err)
		}
		put(t, path, time.Hour)
		other, err := Create(root, "new", nil)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, other)
		if _, err := os.Stat(filepath.Join(path, configFile)); err != nil {
			t.Error(err)
		}
	}
}

// TestLeftoversOfRun checks that the only writer of a run removes the temporary files of
// earlier processes.
func TestLeftoversOfRun(t *testing.T) {
	r := newRun(t)
	c := save(t, r, 1, 0, 50)
	if err := r.FinishStage(c, nil); err != nil {
		t.Fatal(err)
	}
	mustClose(t, r)
	dir := r.Dir()
	stageRun(t, dir, "e2e", Claim{}).Close()
	want := names(t, dir)
	put(t, dir, 0, "status.json.tmp", ".status.json8812", "status.meta.3.tmp",
		"attempts/e2e.1.json.tmp", "attempts/.e2e.1.json991",
		"stages/meta/checkpoint.tmp", "stages/meta/checkpoint.a3.tmp", "stages/meta/best.tmp", "stages/meta/autotune.tmp",
		"stages/meta/done.tmp", "stages/meta/.done77", "stages/meta/checkpoint-1.safetensors.tmp")
	kept := []string{"notes.tmp", ".hidden", "stages/meta/notes", "attempts/slurm-1.out"}
	put(t, dir, 0, kept...)
	next, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, next)
	want = append(want, kept...)
	slices.Sort(want)
	got := names(t, dir)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

// TestNothingIsMadeElsewhere checks that a run writes no files to the system's temporary
// folder.
func TestNothingIsMadeElsewhere(t *testing.T) {
	elsewhere := t.TempDir()
	before, err := os.Stat(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", elsewhere)
	time.Sleep(10 * time.Millisecond)
	r, err := Create(t.TempDir(), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := save(t, r, 1, 0, 50)
	if err := errors.Join(r.SetStage("meta", ""), r.FinishStage(c, nil), r.Close()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(elsewhere); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("something was made in %s: %v", elsewhere, err)
	}
}
