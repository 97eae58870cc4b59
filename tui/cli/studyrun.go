package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// StudyRun runs a new study.
type StudyRun struct {
	Study string   `arg:"" help:"A study's name, or a TOML file."`
	Scale float64  `default:"1" placeholder:"FRACTION" help:"Shorten every stage to this part of its epochs."`
	Small bool     `help:"The study's variant for a small machine: minutes on a CPU, with its own data and network."`
	Set   []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of every cell: seed=1."`
	StudyProcess
}

func (cmd *StudyRun) Effect() Effect { return cmd.effect() }

func (cmd *StudyRun) Run(ctx context.Context, a *App) error {
	if !(cmd.Scale > 0 && cmd.Scale <= 1) { // NaN too
		return badInput{fmt.Errorf("--scale=%v: give a fraction of the epochs, above 0 and at most 1", cmd.Scale)}
	}
	d, err := presets.LoadStudy(cmd.Study)
	if err != nil {
		return badInput{err}
	}
	s, err := study.Create(ctx, a.Root, d, study.Options{Scale: cmd.Scale, Small: cmd.Small, Set: cmd.Set})
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return badInput{err}
	}
	return a.processStudy(ctx, s, cmd.StudyProcess)
}

// processStudy executes a study here or in a process of its own.
func (a *App) processStudy(ctx context.Context, s *study.Study, how StudyProcess) error {
	if !how.Detach {
		return a.executeStudy(ctx, s, nil, how.JSON)
	}
	if err := s.Detach(ctx); err != nil {
		if errors.Is(err, study.ErrLocked) {
			return badInput{err}
		}
		return err
	}
	if warning := launch.LogoutWarning(); warning != "" {
		fmt.Fprintln(a.Err, "warning:", warning)
	}
	if how.JSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"study": s.ID, "dir": s.Dir()})
	}
	fmt.Fprintf(a.Out, "%s runs in the background\nto see it: hatchery study status %s, or hatchery and key 3\nto stop it: hatchery study stop %s\n", s.ID, s.ID, s.ID)
	return nil
}

// executeStudy executes a study in this process; started is study.Execute's.
func (a *App) executeStudy(ctx context.Context, s *study.Study, started func(), asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.Out, "%s, %d cells\n", titled("study "+s.ID, s.Definition.Title), len(s.Cells))
		fmt.Fprint(a.Out, differences(s))
	}
	failed := "" // the cell whose run has an event for its error
	watcher := &study.Watcher{Started: started, Event: func(cell *study.Cell, e runs.Event) {
		switch {
		case asJSON && (cell == nil || e.Kind != runs.Error || failed != cell.Name):
			encodeStudyEvent(json.NewEncoder(a.Out), s.ID, cell, e)
		case !asJSON:
			fmt.Fprintln(a.Out, studyLine(cell, e))
		}
	}}
	err := s.Execute(ctx, watcher, func(ctx context.Context, cell study.Cell, c *presets.Config, run *runs.Run) error {
		if !asJSON {
			fmt.Fprintf(a.Out, "\n%s (run %s)\n", cell.Name, run.ID())
		}
		return a.executeFor(ctx, c, run, func(before *runs.State) viewer {
			if asJSON {
				return &cellJSON{json.NewEncoder(a.Out), s.ID, cell, &failed}
			}
			return newCellText(newText(a.Out, run.ID(), c), before)
		})
	})
	switch {
	case errors.Is(err, study.ErrLocked):
		return badInput{err}
	case errors.Is(err, study.ErrOtherData), errors.Is(err, study.ErrFolderLost): // there is no table to show, or none where it was
		return err
	case errors.Is(err, pipeline.ErrInterrupted):
		if !asJSON {
			fmt.Fprintf(a.Out, "go on with: hatchery study resume %s\n", s.ID)
		}
		return err
	}
	ctx = context.WithoutCancel(ctx) // Ctrl-C came too late: the study is over
	if asJSON {
		return errors.Join(err, a.studyJSON(ctx, s))
	}
	fmt.Fprintln(a.Out)
	return errors.Join(err, a.studyText(ctx, s))
}

// differences says how a study differs from its definition, a line each.
func differences(s *study.Study) string {
	var b strings.Builder
	for _, text := range s.Options.Differences() {
		b.WriteString(printable.Line(text) + "\n")
	}
	return b.String()
}

// cellText shows the run of a cell: a line a stage, and the bar.
type cellText struct{ *text }

// newCellText returns a viewer after showing the stages that are already done.
func newCellText(t *text, before *runs.State) *cellText {
	c := &cellText{t}
	for i := range before.Stages {
		if st := &before.Stages[i]; st.Phase == runs.Finished {
			c.ended(st, "taken over")
		}
	}
	return c
}

// ended writes the line of a stage that has ended.
func (t *cellText) ended(st *runs.StageState, took string) {
	line := fmt.Sprintf("  %-20s", printable.Line(st.Name))
	if top1, ok := st.Results[runs.Top1]; ok {
		line += fmt.Sprintf(" top-1 %7s", quantity.Accuracy(top1))
	}
	t.line("%s  %s", line, took)
}

func (t *cellText) event(e runs.Event, s *runs.State) error {
	switch e.Kind {
	case runs.StageEnd:
		st := s.Stage(e.Stage)
		t.ended(st, quantity.DurationTenths(st.Elapsed))
	case runs.RunStart, runs.StageStart, runs.Epoch, runs.Eval, runs.Info:
	case runs.Done:
		t.clear()
		return nil
	default:
		return t.text.event(e, s)
	}
	return t.progress(s)
}

// studyLine is the line of an event of a study itself; cell is nil if it is of
// the whole study.
func studyLine(cell *study.Cell, e runs.Event) string {
	about := about(e)
	switch {
	case cell == nil:
		return "warning: " + about
	case e.Kind == runs.Error:
		return fmt.Sprintf("error: cell %s failed: %s", printable.Line(cell.Name), about)
	}
	return fmt.Sprintf("warning: cell %s: %s", printable.Line(cell.Name), about)
}

// cellJSON writes the events of a cell's run, each with where it belongs.
type cellJSON struct {
	out    *json.Encoder
	study  string
	cell   study.Cell
	failed *string // becomes the name of the cell with an error
}

func (v *cellJSON) event(e runs.Event, _ *runs.State) error {
	if e.Kind == runs.Error {
		*v.failed = v.cell.Name
	}
	return encodeStudyEvent(v.out, v.study, &v.cell, e)
}

// encodeStudyEvent writes an event of a cell, or of the study itself if cell is
// nil.
func encodeStudyEvent(out *json.Encoder, id string, cell *study.Cell, e runs.Event) error {
	if cell == nil {
		cell = &study.Cell{}
	}
	return out.Encode(struct {
		Study string     `json:"study"`
		Cell  string     `json:"cell,omitempty"`
		Run   string     `json:"run,omitempty"`
		Event runs.Event `json:"event"`
	}{id, cell.Name, cell.Run, e})
}
