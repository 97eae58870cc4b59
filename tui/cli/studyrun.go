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
	Scale float64  `default:"1" placeholder:"FRACTION" help:"Train every stage for this fraction of its epochs."`
	Small bool     `help:"Run the study's variant for a small machine, with other data and a smaller network; takes minutes on a CPU."`
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

// processStudy executes a study in this process or in one of its own.
func (a *App) processStudy(ctx context.Context, s *study.Study, flags StudyProcess) error {
	if !flags.Detach {
		return a.executeStudy(ctx, s, nil, flags.JSON)
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
	if flags.JSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"study": s.ID, "dir": s.Dir()})
	}
	fmt.Fprintf(a.Out, "%s runs in the background\nto watch it: hatchery study status %s, or key 3 in the workbench\nto stop it: hatchery study stop %s\n", s.ID, s.ID, s.ID)
	return nil
}

// executeStudy executes a study in this process. If started is not nil, it is called as
// study.Watcher says.
func (a *App) executeStudy(ctx context.Context, s *study.Study, started func(), asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.Out, "%s, %d cells\n", titled("study "+s.ID, s.Definition.Title), len(s.Cells))
		fmt.Fprint(a.Out, differences(s))
	}
	failed := "" // name of the cell whose run has reported its error
	watcher := &study.Watcher{Started: started, Event: func(cell *study.Cell, e runs.Event) {
		switch {
		case asJSON && (cell == nil || e.Kind != runs.Error || failed != cell.Name):
			_ = encodeStudyEvent(json.NewEncoder(a.Out), s.ID, cell, e)
		case !asJSON:
			fmt.Fprintln(a.Out, studyLine(cell, e))
		}
	}}
	err := s.Execute(ctx, watcher, func(ctx context.Context, cell study.Cell, c *presets.Config, run *runs.Run) error {
		if !asJSON {
			fmt.Fprintf(a.Out, "\n%s (run %s)\n", cell.Name, run.ID())
		}
		return a.executeWith(ctx, c, run, func(before *runs.State) viewer {
			if asJSON {
				return &cellJSON{json.NewEncoder(a.Out), s.ID, cell, &failed}
			}
			return newCellText(newText(a.Out, run.ID(), c), before)
		})
	})
	switch {
	case errors.Is(err, study.ErrLocked):
		return badInput{err}
	case errors.Is(err, study.ErrOtherData), errors.Is(err, study.ErrFolderLost): // there are no results to show
		return err
	case errors.Is(err, pipeline.ErrInterrupted):
		if !asJSON {
			fmt.Fprintf(a.Out, "resume with: hatchery study resume %s\n", s.ID)
		}
		return err
	}
	ctx = context.WithoutCancel(ctx) // Ctrl-C came too late: the study has ended
	if asJSON {
		return errors.Join(err, a.studyJSON(ctx, s))
	}
	fmt.Fprintln(a.Out)
	return errors.Join(err, a.studyText(ctx, s))
}

// differences returns the differences of a study from its definition, one per line.
func differences(s *study.Study) string {
	var b strings.Builder
	for _, text := range s.Options.Differences() {
		b.WriteString(printable.Line(text) + "\n")
	}
	return b.String()
}

// cellText shows the run of a cell: one line for each stage, and the bar.
type cellText struct{ *text }

// newCellText returns a cellText, after writing the stages that are already done.
func newCellText(t *text, before *runs.State) *cellText {
	c := &cellText{t}
	for i := range before.Stages {
		if st := &before.Stages[i]; st.Phase == runs.Finished {
			c.stageLine(st, "taken over")
		}
	}
	return c
}

// stageLine writes the line of a stage that is done. duration is the last column.
func (t *cellText) stageLine(st *runs.StageState, duration string) {
	line := fmt.Sprintf("  %-20s", printable.Line(st.Name))
	if top1, ok := st.Results[runs.Top1]; ok {
		line += fmt.Sprintf(" top-1 %7s", quantity.Accuracy(top1))
	}
	t.line("%s  %s", line, duration)
}

func (t *cellText) event(e runs.Event, s *runs.State) error {
	switch e.Kind {
	case runs.StageEnd:
		st := s.Stage(e.Stage)
		t.stageLine(st, quantity.DurationTenths(st.Elapsed))
	case runs.RunStart, runs.StageStart, runs.Epoch, runs.Eval, runs.Info:
	case runs.Done:
		t.clear()
		return nil
	default:
		return t.text.event(e, s)
	}
	return t.progress(s)
}

// studyLine returns the line for an event of the study itself. cell is nil if the event is
// not about a cell.
func studyLine(cell *study.Cell, e runs.Event) string {
	text := message(e)
	switch {
	case cell == nil:
		return "warning: " + text
	case e.Kind == runs.Error:
		return fmt.Sprintf("error: cell %s failed: %s", printable.Line(cell.Name), text)
	}
	return fmt.Sprintf("warning: cell %s: %s", printable.Line(cell.Name), text)
}

// cellJSON writes the events of a cell's run as JSON, with the study, the cell and the run.
type cellJSON struct {
	out    *json.Encoder
	study  string
	cell   study.Cell
	failed *string // set to the name of the cell at an error
}

func (v *cellJSON) event(e runs.Event, _ *runs.State) error {
	if e.Kind == runs.Error {
		*v.failed = v.cell.Name
	}
	return encodeStudyEvent(v.out, v.study, &v.cell, e)
}

// encodeStudyEvent writes an event of a cell, or of the study itself if cell is nil.
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
