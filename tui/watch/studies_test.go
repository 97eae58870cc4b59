package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

const tinyStudy = `
title  = "A tiny study"
preset = "quickstart"
[[series]]
name   = "lr"
method = "assembling"
key    = "finetune.lr"
values = [1e-3, 1e-4]
`

// createStudy creates a study with two cells.
func createStudy(t *testing.T, root string) *study.Study {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.toml")
	if err := os.WriteFile(path, []byte(tinyStudy), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := presets.LoadStudy(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := study.Create(t.Context(), root, d, study.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStudies(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	scanner := &Scanner{Root: root}
	if all, err := scanner.Studies(t.Context(), day); err != nil || len(all) != 0 {
		t.Errorf("a missing folder has %v, %v", all, err)
	}
	s := createStudy(t, root)
	first, second := s.RunDir(s.Cells[0]), s.RunDir(s.Cells[1])
	result := func(top1 float64) string {
		return event("eval", "finetune", 4, top1) + fmt.Sprintf(`{"kind":"result","method":"assembling","values":{"top1":%g}}`+"\n", top1)
	}
	steps := []struct {
		what string
		do   func()
		want string
	}{
		{"nothing has started", func() {}, "waiting 0: waiting NaN, waiting NaN"},
		{"a cell runs alone", func() { folder(t, first, event("eval", "module-2", 4, 61.5), runs.Running) }, "interrupted 0: running NaN, waiting NaN"},
		{"it is done", func() { folder(t, first, result(81), runs.Finished) }, "interrupted 1: done 81.0, waiting NaN"},
		{"the next fails", func() { folder(t, second, event("eval", "meta", 4, 30), runs.Failed) }, "failed 1: done 81.0, failed NaN"},
		{"it is done", func() { folder(t, second, result(82), runs.Finished) }, "done 2: done 81.0, done 82.0"},
		{"one is deleted", func() {
			if err := os.RemoveAll(second); err != nil {
				t.Fatal(err)
			}
		}, "interrupted 1: done 81.0, waiting NaN"},
	}
	for _, step := range steps {
		step.do()
		for range 2 { // the second time from the cache
			all, err := scanner.Studies(t.Context(), day)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) != 1 || all[0].Err != nil {
				t.Fatalf("%s: %+v", step.what, all)
			}
			e := all[0]
			var cells []string
			for _, r := range e.Results() {
				cells = append(cells, fmt.Sprintf("%s %.1f", r.Phase, r.Values.Get(runs.Top1)))
			}
			if got := fmt.Sprintf("%s %d: %s", e.Phase, e.Done(), strings.Join(cells, ", ")); got != step.want {
				t.Errorf("%s: %s, want %s", step.what, got, step.want)
			}
		}
	}
}

// TestStudyReadsWhatIsNew checks that only the end of a journal is read again while no stage
// has ended.
func TestStudyReadsWhatIsNew(t *testing.T) {
	root := t.TempDir()
	s := createStudy(t, root)
	dir := s.RunDir(s.Cells[0])
	// The journal gets a result without the end of a stage, which no process would write. It
	// would be found if the complete journal were read.
	journal := event("stage-start", "meta", 0, 0)
	folder(t, dir, journal, runs.Running)
	scanner := &Scanner{Root: root}
	if e := scanner.Study(t.Context(), s.ID, day); e.Err != nil {
		t.Fatal(e.Err)
	}
	journal += event("eval", "meta", 3, 42) + `{"kind":"result","method":"assembling","values":{"top1":81}}` + "\n" + event("epoch", "meta", 3, 42)
	folder(t, dir, journal, runs.Running)
	e := scanner.Study(t.Context(), s.ID, day)
	if c := e.Cells[0]; c.Values != nil || c.Run.Epoch != 3 {
		t.Errorf("values %v, epoch %d: want none, and epoch 3", c.Values, c.Run.Epoch)
	}
	if err := os.MkdirAll(filepath.Join(dir, "stages", "meta"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stages", "meta", "done"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := scanner.Study(t.Context(), s.ID, day).Cells[0]; c.Values.Get(runs.Top1) != 81 {
		t.Errorf("a stage has ended and the values are %v", c.Values)
	}
}
