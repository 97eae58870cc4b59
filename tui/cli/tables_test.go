package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/report"
)

// output returns the output of a command.
func (s *shop) output(run func() error) string {
	s.Helper()
	s.out.Reset()
	if err := run(); err != nil {
		s.Fatal(err)
	}
	return s.out.String()
}

func (s *shop) status(dir string) string {
	s.Helper()
	return s.output(func() error { return (&Status{RunArg: RunArg{dir}}).Run(s.Context(), s.app) })
}

// matches fails unless a text matches the patterns. A pattern after "!" must not match.
func (s *shop) matches(text string, patterns ...string) {
	s.Helper()
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		if regexp.MustCompile(`(?m)`+p).MatchString(text) == not {
			s.Errorf("shown (%v): %q in\n%s", not, p, text)
		}
	}
}

// TestDamagedJournal checks that a stage with a done file is shown as done even if the
// journal is damaged, and that unknown values are not shown as 0.
func TestDamagedJournal(t *testing.T) {
	s := newShop(t)
	dir := s.finished()
	path := filepath.Join(dir, "events.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := runs.ReadOutcome(dir, "meta")
	if err != nil {
		t.Fatal(err)
	}
	meta := fmt.Sprintf(`^meta +%.2f %%$`, outcome.Values[runs.Top1])
	ended := bytes.Index(whole, []byte(`"kind":"stage-end"`))
	for name, left := range map[string][]byte{
		"empty":              nil,
		"in the first stage": whole[:ended/2],
		"in the second":      whole[:ended+(len(whole)-ended)/4],
	} {
		t.Run(name, func(t *testing.T) {
			s.TB = t
			if err := os.WriteFile(path, left, 0o600); err != nil {
				t.Fatal(err)
			}
			status := s.status(dir)
			s.matches(status, `: done, 100 % done, time unknown$`, `^finetune +done +1/1`, meta, `!waiting|interrupted`)
			if n := strings.Count(status, "warning:"); n != 1 || !strings.Contains(status, "events.jsonl lacks the end of ") {
				t.Errorf("%d warnings in\n%s", n, status)
			}
			d, err := report.Run(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range d.Tables {
				for _, row := range table.Rows {
					if table.Name == "stages" && (row[1].Text != "done" || row[0].Text == "finetune" && row[7].Shown() != "–") {
						t.Errorf("the report has %+v", row)
					}
				}
			}

			resumed := s.output(func() error { return (&Resume{RunArg: RunArg{dir}}).Run(s.Context(), s.app) })
			s.matches(resumed, `^warning: .*lacks the end of`, `^assembling +\S+ % +\S+ % +- +\d`, meta, `!0\.00 % \(0\)|meta +0\.00|ready`)
			s.matches(s.status(dir), `: done, 100 % done, time unknown$`, `^finetune +done`, `^assembling +\S+ % +\S+ % +- +\d`)
		})
	}
}

// TestStagesOfThePlan checks that stages that are not part of the present configuration are
// not in any table and do not count.
func TestStagesOfThePlan(t *testing.T) {
	s := newShop(t)
	dir := s.finished(`run.methods=["assembling","e2e"]`)
	remove := func(stages ...string) {
		t.Helper()
		for _, stage := range stages {
			if err := os.RemoveAll(filepath.Join(dir, "stages", stage)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove("meta", "module-1", "assemble", "finetune")
	s.edit(dir, "modules.k=1")
	resumed := s.output(func() error { return (&Resume{RunArg: RunArg{dir}}).Run(s.Context(), s.app) })
	s.matches(resumed, `^module-1 .*[+-]\d`, `!^module-2 .*[+-]\d`)
	status := s.status(dir)
	s.matches(status, `100 % done`, `^module-1 +done`, `!^module-2`)
	if _, err := os.Stat(filepath.Join(dir, "stages", "module-2")); err != nil {
		t.Errorf("the folder of the other stage is gone: %v", err)
	}
	d, err := report.Run(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(d.Tables); strings.Contains(string(text), "module-2") {
		t.Errorf("the report has %s", text)
	}

	s.edit(dir, `run.methods=["e2e"]`)
	resumed = s.output(func() error { return (&Resume{RunArg: RunArg{dir}}).Run(s.Context(), s.app) })
	s.matches(resumed, `^e2e +-`, `!^assembling|^module|in the meta model`)
	s.matches(s.status(dir), `: done, 100 % done`, `^e2e +done`, `!waiting|^(assembl|meta|module)`)

	// When the old configuration is restored, the stage is shown again with its curves.
	s.edit(dir, `run.methods=["assembling","e2e"]`)
	s.resume(dir)
	state, err := runs.ReadState(s.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if st := state.Stage("finetune"); st == nil || st.Phase != runs.Finished || len(st.Points) == 0 || len(state.Results) != 2 {
		t.Errorf("stage %+v, results %v", st, state.Results)
	}
}

// TestStatusWarnings checks that equal warnings are shown once, and that a warning without a
// stage names none.
func TestStatusWarnings(t *testing.T) {
	state := halfway()
	for _, e := range []runs.Event{{Message: "odd clock"}, {Stage: "meta", Message: "odd image"}, {Message: "odd clock"}, {Stage: "meta", Message: "odd image"}} {
		e.Kind, e.Time = runs.Warning, noon
		state.Apply(e)
	}
	var out bytes.Buffer
	a := &App{Out: &out}
	if err := a.statusText("x", &presets.Config{Name: "x"}, health{state: state}); err != nil {
		t.Fatal(err)
	}
	if _, warnings, _ := strings.Cut(out.String(), "warning"); warnings != ": odd clock\nwarning: meta: odd image\n" {
		t.Errorf("shown:\n%s", &out)
	}
}

// TestBrokenStatus checks that without status.json, status uses the events and done files,
// and says what to type.
func TestBrokenStatus(t *testing.T) {
	s := newShop(t)
	dir := s.finished()
	path := filepath.Join(dir, "status.json")
	for name, c := range map[string]struct {
		put  func() error
		mend string
	}{
		"empty":  {func() error { return os.WriteFile(path, nil, 0o600) }, "hatchery resume " + filepath.Base(dir)},
		"gone":   {func() error { return nil }, "hatchery resume " + filepath.Base(dir)},
		"folder": {func() error { return os.Mkdir(path, 0o700) }, "rm -r " + path},
		"pipe":   {func() error { return syscall.Mkfifo(path, 0o600) }, "rm -r " + path},
	} {
		if err := errors.Join(os.RemoveAll(path), c.put()); err != nil {
			t.Fatal(err)
		}
		s.err.Reset()
		s.matches(s.status(dir), `: done, 100 % done`, `^finetune +done`, `^assembling +\d`)
		if text := s.err.String(); strings.Count(text, "warning:") != 1 || !strings.Contains(text, path) || !strings.Contains(text, c.mend) {
			t.Errorf("%s: said %q, want %q", name, text, c.mend)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	s.resume(dir)
	if status, err := runs.ReadStatus(dir); err != nil || status.Phase != runs.Finished {
		t.Errorf("after it was resumed: %+v, %v", status, err)
	}
}

// TestStatusDiskFull checks that the error of a full disk says what to do, even if the error
// could not be written to the journal.
func TestStatusDiskFull(t *testing.T) {
	state := halfway()
	live := runs.Liveness{Alive: runs.IsFinished, Status: runs.Status{Phase: runs.Failed, Message: "write x: no space left on device"}}
	state.Settle(live)
	var out bytes.Buffer
	a := &App{Out: &out}
	if err := a.statusText("runs/r", &presets.Config{Name: "x"}, health{state: state, live: live}); err != nil {
		t.Fatal(err)
	}
	if want := "error: write x: no space left on device\nfree some space, then resume with: hatchery resume r\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("shown:\n%s", &out)
	}
}

// TestPlanWithoutData checks that a plan says why the number of steps is unknown.
func TestPlanWithoutData(t *testing.T) {
	s := newShop(t)
	missing := filepath.Join(s.data, "moved")
	plan := func(root string) string {
		return s.output(func() error {
			return (&Plan{PresetArg{"quickstart", append(slices.Clone(small), "data.root="+root)}}).Run(s.Context(), s.app)
		})
	}
	s.matches(plan(missing), `^data\.root = ".*moved": .*does not exist.*; steps and time are unknown$`, ` \? `)
	s.matches(plan(s.data), `!unknown`)
}

// TestRunsFolderMissing checks that a missing folder is not reported as empty.
func TestRunsFolderMissing(t *testing.T) {
	s := newShop(t)
	list := func() string { return s.output(func() error { return new(Runs).Run(s.Context(), s.app) }) }
	s.matches(list(), `^no runs in `)
	s.app.Root = filepath.Join(s.app.Root, "moved")
	s.matches(list(), `^there is no folder .*moved: no run was started there yet, or the folder was moved or deleted`, `!no runs in`)
}
