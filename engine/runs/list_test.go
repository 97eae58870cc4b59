package runs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestList(t *testing.T) {
	if all, err := List(filepath.Join(t.TempDir(), "none"), time.Now()); err != nil || len(all) != 0 {
		t.Errorf("no root: %v, %v", all, err)
	}
	root := t.TempDir()
	first := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i, id := range []string{"b", "a", "c"} {
		r, err := Create(root, id, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Emit(Event{Kind: RunStart, Time: first.Add(time.Duration(i) * time.Hour), Plan: testPlan})
		r.Finish(Finished, "")
		r.Close()
	}
	os.Mkdir(filepath.Join(root, "broken"), 0o700)
	os.Mkdir(filepath.Join(root, ".half-made"), 0o700)
	os.WriteFile(filepath.Join(root, "notes.txt"), nil, 0o600)
	os.WriteFile(filepath.Join(root, "a", statusFile), []byte("{"), 0o600)

	all, err := List(root, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, s := range all {
		got += s.ID + " "
		broken := s.ID == "a" || s.ID == "broken"
		if (s.Err != nil) != broken {
			t.Errorf("%s: error %v", s.ID, s.Err)
		}
	}
	if got != "c a b broken " {
		t.Errorf("listed %q, want the latest first and the broken one last", got)
	}
	if all[1].State == nil || all[0].Liveness.String() != "done" {
		t.Errorf("summaries %+v", all)
	}
	if _, err := List(filepath.Join(root, "notes.txt"), time.Now()); err == nil {
		t.Error("a file was listed")
	}
}
