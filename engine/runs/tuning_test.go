package runs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestTuning checks that a tuning is read back, replaced as a whole, and taken over with its
// stage.
func TestTuning(t *testing.T) {
	root := t.TempDir()
	from := donor(t, root)
	if data, err := ReadTuning(from.Dir(), "meta"); data != nil || err != nil {
		t.Errorf("before anything was saved: %q, %v", data, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := from.SaveTuning("meta", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if data, err := ReadTuning(from.Dir(), "meta"); string(data) != text || err != nil {
			t.Errorf("%q was saved: %q, %v", text, data, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(StageDir(from.Dir(), "meta"), "*.tmp"))
	if err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	to, err := Create(root, "taker", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := to.TakeOver(from.Dir(), "meta"); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadTuning(to.Dir(), "meta"); string(data) != "two" || err != nil {
		t.Errorf("taken over: %q, %v", data, err)
	}
	if err := to.SaveTuning("../meta", nil); err == nil {
		t.Error("a stage outside the run was taken")
	}
}

// TestTuningOfAnOlderAttempt checks that a superseded attempt does not replace the tuning of
// its successor.
func TestTuningOfAnOlderAttempt(t *testing.T) {
	dir := closedRun(t)
	old := stageRun(t, dir, "meta", Claim{Job: "7"})
	if err := old.SaveTuning("module-1", nil); err == nil {
		t.Error("an attempt at meta saved the tuning of another stage")
	}
	next := stageRun(t, dir, "meta", Claim{Job: "7"})
	if err := next.SaveTuning("meta", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := old.SaveTuning("meta", []byte("old")); !errors.Is(err, ErrSuperseded) {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(TuningPath(dir, "meta")); string(data) != "new" {
		t.Errorf("%q is kept", data)
	}
}
