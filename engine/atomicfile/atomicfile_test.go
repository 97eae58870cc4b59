package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWrite(t *testing.T) {
	elsewhere := t.TempDir()
	before, err := os.Stat(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", elsewhere)
	time.Sleep(10 * time.Millisecond)
	dir := t.TempDir()
	path := filepath.Join(dir, "table.csv")
	for _, text := range []string{"one", "two"} {
		if err := Write(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("left %v", names)
	}
	if after, err := os.Stat(elsewhere); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("something was made in the system's folder for temporary files: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode was not kept: %v, %v", info.Mode(), err)
	}
	if err := Write(filepath.Join(dir, "missing", "x"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// TestCollect checks that writing a file removes old temporary files for it, unless a process
// may still be writing them.
func TestCollect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "train.pack")
	living, err := Create(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Cleanup()
	old := time.Now().Add(-time.Hour)
	for name, at := range map[string]time.Time{
		".train.pack123":           old, // left behind
		".train.pack124":           time.Now(),
		".train.pack":              old,
		".train.pack12x":           old,
		".val.pack123":             old,
		"train.pack123":            old,
		living.Name()[len(dir)+1:]: old, // slow
	} {
		p := filepath.Join(dir, name)
		if p != living.Name() {
			if err := os.WriteFile(p, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".train.pack9"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := len(list(t, dir))
	if err := Write(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	after := list(t, dir)
	if _, err := os.Stat(filepath.Join(dir, ".train.pack123")); err == nil || len(after) != before { // one gone, one new
		t.Errorf("%v", after)
	}
	// The locked file is kept and can still be renamed.
	if _, err := living.WriteString("slow"); err != nil {
		t.Fatal(err)
	}
	if err := living.CloseAtomicallyReplace(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "slow" {
		t.Errorf("%q, %v", got, err)
	}
	// The lock ends with its process.
	dead, err := Create(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	dead.File.Close()
	if err := os.Chtimes(dead.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", dead.Name())
	}
}

// TestRootGivesToTheOwner checks that a user can read and replace files that root writes into
// the user's folder.
func TestRootGivesToTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can write for another user")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Skip("this root cannot give files to other users:", err)
	}
	path := filepath.Join(dir, "slurm.json")
	if err := Write(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != 65534 || st.Gid != 65534 {
		t.Errorf("it belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}
