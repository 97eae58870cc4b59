package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/datasets/picture"
	"hatchery/engine/runs"
)

// The warning counts the skipped pictures and names the first; the file lists all.
func TestReportSkipped(t *testing.T) {
	c := config(t)
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	r := &runner{config: c, run: run, train: &datasets.Set{}, eval: &datasets.Set{}}
	if err := r.reportSkipped(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(run.Dir(), skippedFile)); err == nil {
		t.Error("a list of nothing")
	}
	r.train.Skipped = []error{errors.New("train/cat/1.jpg: the file is empty"), errors.New("train/dog/2.jpg: unexpected EOF")}
	r.eval.Skipped = []error{fmt.Errorf("val/cat/3.jpg: %w", &picture.Unsupported{Form: "arithmetic coding", Hint: "convert it"})}
	for range 2 { // the second time as after a resume
		if err := r.reportSkipped(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := os.ReadFile(filepath.Join(run.Dir(), skippedFile))
	if want := "train/cat/1.jpg: the file is empty\ntrain/dog/2.jpg: unexpected EOF\nval/cat/3.jpg: valid, but this build cannot read it (arithmetic coding); convert it\n"; err != nil || string(list) != want {
		t.Errorf("%q, %v", list, err)
	}
	state, err := runs.ReadState(t.Context(), run.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Warnings) != 1 || !strings.HasPrefix(state.Warnings[0].Message, "2 training and 1 evaluation images cannot be decoded and are left out, 2 damaged and 1 that are valid, but of a form that this build cannot read; the first: train/cat/1.jpg: ") ||
		!strings.HasSuffix(state.Warnings[0].Message, filepath.Join(run.Dir(), skippedFile)) {
		t.Errorf("%+v", state.Warnings)
	}
}
