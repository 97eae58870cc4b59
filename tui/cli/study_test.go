package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// study creates a study of three cells with different fine-tuning on the shop's pictures.
func (s *shop) study() *study.Study {
	s.Helper()
	var sets []string
	for _, set := range append([]string{"data.root=" + s.data}, small...) {
		sets = append(sets, fmt.Sprintf("%q", set))
	}
	path := filepath.Join(s.TempDir(), "tiny.toml")
	err := os.WriteFile(path, fmt.Appendf(nil, "title = \"A tiny study\"\npreset = \"quickstart\"\nset = [%s]\n"+
		"[[series]]\nname = \"lr\"\nmethod = \"assembling\"\nkey = \"finetune.lr\"\nvalues = [1e-3, 1e-4, 1e-5]\n", strings.Join(sets, ",")), 0o644)
	if err != nil {
		s.Fatal(err)
	}
	d, err := presets.LoadStudy(path)
	if err != nil {
		s.Fatal(err)
	}
	begun, err := study.Create(s.Context(), s.app.Root, d, study.Options{})
	if err != nil {
		s.Fatal(err)
	}
	return begun
}

// first executes the first cell of a study and stops in the second.
func (s *shop) first(st *study.Study) {
	s.Helper()
	n := 0
	err := st.Execute(s.Context(), nil, func(ctx context.Context, _ study.Cell, c *presets.Config, run *runs.Run) error {
		if n++; n > 1 {
			return errors.Join(pipeline.ErrInterrupted, run.Close(), os.RemoveAll(run.Dir()))
		}
		return launch.Execute(ctx, c, run, launch.Options{})
	})
	if !errors.Is(err, pipeline.ErrInterrupted) {
		s.Fatal(err)
	}
}

// studyStatus returns the output of study status as text and as JSON.
func (s *shop) studyStatus(st *study.Study) (text, asJSON string) {
	s.Helper()
	for _, json := range []bool{false, true} {
		s.out.Reset()
		if err := (&StudyStatus{StudyArg{st.ID}, json}).Run(s.Context(), s.app); err != nil {
			s.Fatal(err)
		}
		if !json {
			text = s.out.String()
		}
	}
	return text, s.out.String()
}

func wants(t *testing.T, what, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("%s does not match %s:\n%s", what, p, text)
		}
	}
}

// TestStudyOtherClasses checks that a study cannot be resumed with other classes, and can be
// when they are restored.
func TestStudyOtherClasses(t *testing.T) {
	s := newShop(t)
	st := s.study()
	s.first(st)
	rename := func(from, to string) {
		for _, split := range []string{"train", "val"} {
			if err := os.Rename(filepath.Join(s.data, split, from), filepath.Join(s.data, split, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rename("cat", "zebra")
	err := (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(t.Context(), s.app)
	if ExitCode(err) != ExitBadInput {
		t.Fatalf("resumed on other classes: %v\n%s", err, s.out.String())
	}
	wants(t, "the error", err.Error(), "study "+st.ID+" cannot be resumed", `cell lr-0\.001: class 1 of 2 was "cat", not "dog"`,
		"study resume "+st.ID, "rm -r "+regexp.QuoteMeta(st.RunDir(st.Cells[0]))+" && hatchery")
	for _, c := range st.Cells[1:] {
		if _, err := os.Stat(st.RunDir(c)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("cell %s was started: %v", c.Name, err)
		}
	}
	rename("zebra", "cat")
	if err := (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	text, _ := s.studyStatus(st)
	if strings.Contains(text, "other data") {
		t.Errorf("the same data, and the status says\n%s", text)
	}
}

// TestStudyOtherImages checks that a study that is resumed with other pictures of the same
// classes warns, and marks the cells that cannot be compared.
func TestStudyOtherImages(t *testing.T) {
	s := newShop(t)
	st := s.study()
	s.first(st)
	s.picture(filepath.Join(s.data, "train", "dog", "00.png"), 77, 56)
	s.out.Reset()
	if err := (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	const why = `the 40 training images had other names, sizes, order or pixels`
	wants(t, "the console", s.out.String(), `(?m)^warning: the data have changed since the training of cell lr-0\.001 \(`+why+`\)`,
		`(?m)^warning: cell lr-0\.0001: meta: not taken over from run tiny-lr-0\.001-`)
	if n := strings.Count(s.out.String(), "the data have changed since the training"); n != 1 {
		t.Errorf("the warning appears %d times:\n%s", n, s.out.String())
	}
	text, asJSON := s.studyStatus(st)
	wants(t, "the status", text, `(?m)^cell lr-0\.001 cannot be compared with the others: it was trained on other data \(`+why+`\)$`)
	wants(t, "the status", asJSON, `"label":"0.001"[^{}]*(\{[^{}]*\}[^{}]*)?"other_data":"`+why)
	if n := strings.Count(text, "other data") + strings.Count(asJSON, "other_data"); n != 2 {
		t.Errorf("%d cells are marked:\n%s%s", n, text, asJSON)
	}
}

// writer is a buffer that calls a function with its contents after each write.
type writer struct {
	bytes.Buffer
	wrote func(all string)
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	w.wrote(w.String())
	return n, err
}

// TestStudySaysFailures checks that the failure of a cell is reported at once, at the end
// even if the study is interrupted, and in the status.
func TestStudySaysFailures(t *testing.T) {
	s := newShop(t)
	st := s.study()
	broken := filepath.Join(st.Dir(), "cells", st.Cells[0].Name+".toml")
	right, err := os.ReadFile(broken)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, []byte("nonsense = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &writer{wrote: func(all string) {
		if strings.Contains(all, "lr-0.0001 (run ") {
			stop()
		}
	}}
	app := &App{Out: out, Err: &s.err, Root: s.app.Root}
	err = (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(ctx, app)
	if ExitCode(err) != ExitInterrupted {
		t.Fatalf("%v\n%s", err, out.String())
	}
	wants(t, "the error", err.Error(), `cell lr-0\.001: .*nonsense`)
	wants(t, "the console", out.String(), `(?s)error: cell lr-0\.001 failed: .*nonsense.*lr-0\.0001 \(run .*resume with: hatchery study resume`)
	text, asJSON := s.studyStatus(st)
	wants(t, "the status", text, `(?m)^lr +0\.001 +failed`, `(?m)^cell lr-0\.001, failed: .*nonsense`, `(?m)^lr +1e-05 +waiting`)
	wants(t, "the status", asJSON, `"label":"0.001"[^{}]*"phase":"failed"[^{}]*"failure":"[^"]*nonsense`)

	if err := os.WriteFile(broken, right, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	if text, _ := s.studyStatus(st); strings.Contains(text, "failed") {
		t.Errorf("mended, and the status says\n%s", text)
	}
}

// TestStudyMissingCell checks that a cell whose run was deleted is reported as missing, and
// that resuming warns that it is trained again.
func TestStudyMissingCell(t *testing.T) {
	s := newShop(t)
	st := s.study()
	s.first(st)
	if err := os.RemoveAll(st.RunDir(st.Cells[0])); err != nil {
		t.Fatal(err)
	}
	text, asJSON := s.studyStatus(st)
	wants(t, "the status", text, `(?m)^lr +0\.001 +missing`, `(?m)^cell lr-0\.001, missing: .* was moved or deleted; study resume will train`)
	wants(t, "the status", asJSON, `"label":"0.001"[^{}]*"phase":"missing"`)
	s.out.Reset()
	if err := (&StudyResume{StudyArg: StudyArg{st.ID}}).Run(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	wants(t, "the console", s.out.String(), `warning: cell lr-0\.001: it was started before, but .* does not exist any more`)
}

// TestStudyCrashedCell checks that the cell of a killed study is shown as crashed.
func TestStudyCrashedCell(t *testing.T) {
	s := newShop(t)
	st := s.study()
	c, err := st.Config(st.Cells[0])
	if err != nil {
		t.Fatal(err)
	}
	run, err := runs.Create(s.app.Root, st.Cells[0].Run, c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(run.Dir(), "status.json")
	running, err := os.ReadFile(status)
	if err := errors.Join(err, run.Close(), os.WriteFile(status, running, 0o644)); err != nil {
		t.Fatal(err)
	}
	text, asJSON := s.studyStatus(st)
	wants(t, "the status", text, `(?m)^lr +0\.001 +crashed`)
	wants(t, "the status", asJSON, `"label":"0.001"[^{}]*"phase":"interrupted"[^{}]*"crashed":true`)
}
