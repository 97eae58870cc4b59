package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/pages"
)

// StudyStart says how a study is to be run.
type StudyStart struct {
	Scale float64  `default:"1" placeholder:"FRACTION" help:"Shorten every stage to this part of its epochs."`
	Small bool     `help:"The study's variant for a small machine: minutes on a CPU, with its own data and network."`
	Set   []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of every cell: seed=1."`
	StudyProcess
}

// StudyProcess says how a study is to be executed.
type StudyProcess struct {
	Detach bool `short:"d" help:"Leave the study in a process of its own and return."`
	JSON   bool `help:"Write events as JSON, one a line."`
}

// Study runs a new study.
func (a *App) Study(ctx context.Context, name string, how StudyStart) error {
	if !(how.Scale > 0 && how.Scale <= 1) { // NaN too
		return badInput{fmt.Errorf("--scale=%v: give a fraction of the epochs, above 0 and at most 1", how.Scale)}
	}
	d, err := presets.LoadStudy(name)
	if err != nil {
		return badInput{err}
	}
	s, err := study.Create(ctx, a.Root, d, study.Options{Scale: how.Scale, Small: how.Small, Set: how.Set})
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return badInput{err}
	}
	return a.processStudy(ctx, s, how.StudyProcess)
}

// ResumeStudy goes on with a study that was interrupted or killed.
func (a *App) ResumeStudy(ctx context.Context, name string, how StudyProcess) error {
	s, err := a.findStudy(name)
	if err != nil {
		return err
	}
	return a.processStudy(ctx, s, how)
}

// StopStudy stops a study of another process, which saves a checkpoint.
func (a *App) StopStudy(ctx context.Context, name string) error {
	s, err := a.findStudy(name)
	if err != nil {
		return err
	}
	if err := s.Stop(ctx); err != nil {
		return err
	}
	if unfinished(s.Results()) == 0 {
		fmt.Fprintln(a.Out, "the study is done")
		return nil
	}
	fmt.Fprintf(a.Out, "stopped; every finished step is in a checkpoint\ngo on with: hatchery study resume %s\n", s.ID)
	return nil
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
	told := "" // the cell whose run has told of its error
	watcher := &study.Watcher{Started: started, Event: func(cell *study.Cell, e runs.Event) {
		switch {
		case asJSON && (cell == nil || e.Kind != runs.Error || told != cell.Name):
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
				return &cellJSON{json.NewEncoder(a.Out), s.ID, cell, &told}
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
	if asJSON {
		return errors.Join(err, a.studyJSON(s))
	}
	fmt.Fprintln(a.Out)
	return errors.Join(err, a.studyText(s))
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
	out   *json.Encoder
	study string
	cell  study.Cell
	told  *string // becomes the name of the cell with an error
}

func (v *cellJSON) event(e runs.Event, _ *runs.State) error {
	if e.Kind == runs.Error {
		*v.told = v.cell.Name
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

// findStudy opens a study that was begun by its id or the beginning of one.
func (a *App) findStudy(name string) (*study.Study, error) {
	if filepath.Base(filepath.Dir(filepath.Clean(name))) == runs.StudiesDir {
		name = filepath.Base(name) // its folder, as a shell completes it
	}
	all, broken, err := study.List(a.Root)
	if err != nil {
		return nil, err
	}
	for _, b := range broken {
		if b.ID == name {
			return nil, fmt.Errorf("study %s cannot be read: %w", b.ID, b.Err)
		}
	}
	var found []*study.Study
	for _, s := range all {
		if s.ID == name {
			return s, nil
		}
		if strings.HasPrefix(s.ID, name) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, badInput{fmt.Errorf("no study in %s is called %q; `hatchery study list` lists them", a.Root, name)}
	}
	return nil, badInput{fmt.Errorf("%d studies in %s begin with %q; give more of the name", len(found), a.Root, name)}
}

// Studies lists the studies, and those that were begun.
func (a *App) Studies() error {
	all, err := presets.Studies()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STUDY\tCELLS\tTITLE\tPAPER")
	for _, s := range all {
		cells := fmt.Sprint(len(s.Cells(nil)))
		if s.Small != nil {
			cells += fmt.Sprintf(" (small: %d)", len(s.Small.Cells(nil)))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, cells, s.Title, s.Source)
	}
	begun, broken, err := study.List(a.Root)
	if err != nil {
		return err
	}
	if len(begun)+len(broken) > 0 {
		fmt.Fprintln(w, "\nBEGUN\tCELLS DONE\t\t")
	}
	for _, s := range begun {
		results := s.Results()
		unread := ""
		for _, r := range results {
			if r.Err != nil {
				unread += ", " + r.Name
			}
		}
		if unread != "" {
			unread = ", cannot be read: " + unread[2:]
		}
		fmt.Fprintf(w, "%s\t%d of %d%s\t\t\n", s.ID, len(results)-unfinished(results), len(results), unread)
	}
	for _, b := range broken {
		fmt.Fprintf(w, "%s\tbroken: %s\t\t\n", b.ID, brief(b.Err, ""))
	}
	return w.Flush()
}

func unfinished(results []study.Result) int {
	n := 0
	for _, r := range results {
		if r.Phase != runs.Finished {
			n++
		}
	}
	return n
}

// ShowStudy writes the file of a study.
func (a *App) ShowStudy(name string) error {
	source, err := presets.StudySource(name)
	if err != nil {
		return badInput{err}
	}
	_, err = fmt.Fprint(a.Out, source)
	return err
}

// StudyStatus shows what a study has come to.
func (a *App) StudyStatus(name string, asJSON bool) error {
	s, err := a.findStudy(name)
	if err != nil {
		return err
	}
	if asJSON {
		return a.studyJSON(s)
	}
	fmt.Fprintf(a.Out, "%s\n%s\n", titled(s.ID, s.Definition.Title), differences(s))
	return a.studyText(s)
}

// studyText writes a study's table, its chart, and what the paper says.
func (a *App) studyText(s *study.Study) error {
	results := s.Results()
	if err := studyTable(a.Out, s, results); err != nil {
		return err
	}
	studyNotes(a.Out, results)
	width := terminalWidth(a.Out)
	if width == 0 || width > 100 {
		width = 100
	}
	if lines := pages.StudyCurves(s, results); len(lines) > 0 {
		for i := range lines {
			lines[i].Name = printable.Line(lines[i].Name)
		}
		fmt.Fprintf(a.Out, "\n%s\n%s\n", s.Definition.MeasureTitle(), charts.Render(lines, charts.Options{Width: width, Height: 20, XLabel: printable.Line(s.Definition.X), Focus: -1}))
	}
	if len(s.Definition.Says) > 0 {
		fmt.Fprintf(a.Out, "\nthe paper (%s) says:\n", printable.Line(s.Definition.Source))
		for _, text := range s.Definition.Says {
			fmt.Fprintf(a.Out, "  %s\n", printable.Line(text))
		}
	}
	if n := unfinished(results); n > 0 {
		fmt.Fprintf(a.Out, "\n%d of %d cells are not done; go on with: hatchery study resume %s\n", n, len(results), s.ID)
	}
	return nil
}

// studyNotes says below the table why cells have failed, and which cannot be
// compared with the others.
func studyNotes(out io.Writer, results []study.Result) {
	for _, r := range results {
		if r.Failure != "" {
			fmt.Fprintf(out, "cell %s, %s: %s\n", printable.Line(r.Name), r.Phase, strings.ReplaceAll(printable.Text(r.Failure), "\n", "\n  "))
		}
	}
	for _, r := range results {
		if r.OtherData != "" {
			fmt.Fprintf(out, "cell %s cannot be compared with the others: it saw other data (%s)\n", printable.Line(r.Name), printable.Line(r.OtherData))
		}
	}
}

// studyTable writes a line a cell, beside the paper's number.
func studyTable(out io.Writer, s *study.Study, results []study.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	gain := s.Definition.Measure == presets.MeasureGain
	head := "series\tpoint\tassembled\ttop-1\tpaper\ttraining\tmodular\t"
	if gain {
		head = "series\tpoint\tmean gain\tgain of each module\t"
	}
	fmt.Fprintln(w, head)
	for _, r := range results {
		series, label := printable.Line(r.Series), printable.Line(r.Label)
		if r.Err != nil {
			fmt.Fprintf(w, "%s\t%s\tcannot be read: %s\t\t\t\t\t\n", series, label, brief(r.Err, ""))
			continue
		}
		if r.Values == nil {
			state := string(r.Phase)
			if r.Crashed {
				state = string(runs.IsCrashed)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t\t\t\t\t\n", series, label, printable.Line(state))
			continue
		}
		if gain {
			var gains []string
			for _, g := range r.Gains {
				gains = append(gains, fmt.Sprintf("%+.2f", g))
			}
			fmt.Fprintf(w, "%s\t%s\t%+.2f\t%s\t\n", series, label, s.Measured(r), strings.Join(gains, "  "))
			continue
		}
		paper := quantity.Unknown
		if r.Paper != nil {
			paper = fmt.Sprintf("%.1f", r.Paper.Value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", series, label, quantity.Hundredths(r.Values.Get(pipeline.Assembled)), quantity.Hundredths(r.Values.Get(runs.Top1)), paper,
			quantity.DurationTenths(r.Values.Get(pipeline.TrainSeconds)), quantity.Percent(r.Proportion()))
	}
	return w.Flush()
}

// studyJSON writes the results as one JSON object.
func (a *App) studyJSON(s *study.Study) error {
	results := s.Results()
	type row struct {
		study.Cell
		Phase    runs.Phase  `json:"phase"`
		Measured *float64    `json:"measured"` // null while it is not known
		Paper    *float64    `json:"paper"`    // null where the paper prints none
		Values   runs.Values `json:"values,omitempty"`
		Gains    []float64   `json:"gains,omitempty"`
		Shared   []string    `json:"shared,omitempty"`
		Error    string      `json:"error,omitempty"` // why the cell cannot be read

		Crashed   bool   `json:"crashed,omitempty"`    // its process is gone without a last word
		Failure   string `json:"failure,omitempty"`    // why it has failed, or its run is missing
		OtherData string `json:"other_data,omitempty"` // in what the data it saw differ from the other cells'
	}
	rows := []row{}
	for _, r := range results {
		x := row{Cell: r.Cell, Phase: r.Phase, Values: r.Values, Gains: r.Gains, Shared: r.Shared, Crashed: r.Crashed, Failure: r.Failure, OtherData: r.OtherData}
		if r.Err != nil {
			x.Error = r.Err.Error()
		}
		if m := s.Measured(r); !math.IsNaN(m) {
			x.Measured = &m
		}
		if r.Paper != nil {
			x.Paper = &r.Paper.Value
		}
		rows = append(rows, x)
	}
	return json.NewEncoder(a.Out).Encode(struct {
		Study   string `json:"study"`
		Results []row  `json:"results"`
	}{s.ID, rows})
}
