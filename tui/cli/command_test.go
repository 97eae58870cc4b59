package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hatchery/engine/runs"
)

// TestEffect compares the effects of commands. A command that starts a process acts; it
// does not train.
func TestEffect(t *testing.T) {
	for _, c := range []struct {
		command Command
		want    Effect
	}{
		{&Run{}, Trains},
		{&Run{Start: Start{Detach: true}}, Acts},
		{&Run{Start: Start{Queue: true}}, Acts},
		{&Resume{}, Trains},
		{&Resume{Start: Start{Detach: true}}, Acts},
		{&Resume{Start: Start{Queue: true}}, Acts},
		{&StudyRun{}, Trains},
		{&StudyRun{StudyProcess: StudyProcess{Detach: true}}, Acts},
		{&StudyResume{}, Trains},
		{&StudyResume{StudyProcess: StudyProcess{Detach: true}}, Acts},
		{&Stage{}, Trains},
		{&Stage{Slurm: true}, TrainsAsJob},
	} {
		if got := c.command.Effect(); got != c.want {
			t.Errorf("%T%+v: effect %v, want %v", c.command, c.command, got, c.want)
		}
	}
}

// TestCancelled checks that commands that show something return the error of their context
// rather than incomplete output.
func TestCancelled(t *testing.T) {
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
	if err := errors.Join(run.Emit(runs.Event{Kind: runs.RunStart}), run.Finish(runs.Stopped, ""), run.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	page := filepath.Join(t.TempDir(), "page.html")
	for _, cmd := range []Command{
		&Status{RunArg: RunArg{run.ID()}}, &Runs{}, &Plan{PresetArg{Preset: "quickstart"}}, &StudyList{}, &StudyStatus{StudyArg: StudyArg{st.ID}},
		&Report{Name: run.ID(), Out: page}, &Report{Name: st.ID, Out: page}, &DataList{}, &Doctor{},
	} {
		s.out.Reset()
		if err := cmd.Run(ctx, s.app); !errors.Is(err, context.Canceled) {
			t.Errorf("%T%+v: %v\n%s", cmd, cmd, err, &s.out)
		}
	}
	if _, err := os.Stat(page); err == nil {
		t.Error("a report was written")
	}
}
