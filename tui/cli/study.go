package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui/charts"
)

// StudyStart says how a study is to be run.
type StudyStart struct {
	Scale float64  `default:"1" placeholder:"FRACTION" help:"Shorten every stage to this part of its epochs."`
	Small bool     `help:"The study's variant for a small machine: minutes on a CPU, with its own data and network."`
	Set   []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of every cell: seed=1."`
	JSON  bool     `help:"Write events as JSON, one a line."`
}

// Study runs a new study.
func (a *App) Study(ctx context.Context, name string, how StudyStart) error {
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
	return a.executeStudy(ctx, s, how.JSON)
}

// ResumeStudy goes on with a study that was interrupted or killed.
func (a *App) ResumeStudy(ctx context.Context, name string, asJSON bool) error {
	s, err := a.findStudy(name)
	if err != nil {
		return err
	}
	return a.executeStudy(ctx, s, asJSON)
}

func (a *App) executeStudy(ctx context.Context, s *study.Study, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.Out, "study %s: %s, %d cells\n", s.ID, s.Definition.Title, len(s.Cells))
		fmt.Fprint(a.Out, differences(s))
	}
	err := s.Execute(ctx, func(ctx context.Context, cell study.Cell, c *presets.Config, run *runs.Run) error {
		var show viewer = &cellText{text: newText(a.Out, run.ID(), c)}
		if asJSON {
			show = &cellJSON{json.NewEncoder(a.Out), s.ID, cell, run.ID()}
		} else {
			fmt.Fprintf(a.Out, "\n%s (run %s)\n", cell.Name, run.ID())
		}
		return executeFor(ctx, c, run, show)
	})
	switch {
	case errors.Is(err, study.ErrLocked):
		return badInput{err}
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

// differences says how a study differs from its definition.
func differences(s *study.Study) string {
	var b strings.Builder
	if s.Options.Small {
		b.WriteString("the variant for a small machine: another network on other data than the paper's\n")
	}
	if f := s.Options.Scale; f > 0 && f < 1 {
		fmt.Fprintf(&b, "every stage shortened to %g of its epochs, at least one\n", f)
	}
	if len(s.Options.Set) > 0 {
		fmt.Fprintf(&b, "changed: %s\n", strings.Join(s.Options.Set, ", "))
	}
	return b.String()
}

// cellText shows the run of a cell: a line a stage, and the bar.
type cellText struct{ *text }

func (t *cellText) event(e runs.Event, s *runs.State, old bool) error {
	switch e.Kind {
	case runs.StageEnd:
		took := "taken over"
		if !old {
			took = duration(s.Stage(e.Stage).Elapsed)
		}
		line := fmt.Sprintf("  %-20s", e.Stage)
		if top1, ok := e.Values[runs.Top1]; ok {
			line += fmt.Sprintf(" top-1 %5.2f %%", top1)
		}
		t.line("%s  %s", line, took)
	case runs.RunStart, runs.StageStart, runs.Epoch, runs.Eval, runs.Info:
	case runs.Done:
		t.clear()
		return nil
	default:
		return t.text.event(e, s, old)
	}
	if old {
		return nil
	}
	return t.progress(s)
}

// cellJSON writes the events of a cell's run, each with where it belongs.
type cellJSON struct {
	out   *json.Encoder
	study string
	cell  study.Cell
	run   string
}

func (v *cellJSON) event(e runs.Event, _ *runs.State, old bool) error {
	if old {
		return nil
	}
	return v.out.Encode(struct {
		Study string     `json:"study"`
		Cell  string     `json:"cell"`
		Run   string     `json:"run"`
		Event runs.Event `json:"event"`
	}{v.study, v.cell.Name, v.run, e})
}

// findStudy opens a study that was begun by its id or the beginning of one.
func (a *App) findStudy(name string) (*study.Study, error) {
	all, err := study.List(a.Root)
	if err != nil {
		return nil, err
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
	begun, err := study.List(a.Root)
	if err != nil {
		return err
	}
	if len(begun) > 0 {
		fmt.Fprintln(w, "\nBEGUN\tCELLS DONE\t\t")
	}
	for _, s := range begun {
		results, err := s.Results()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%d of %d\t\t\n", s.ID, len(results)-unfinished(results), len(results))
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
	fmt.Fprintf(a.Out, "%s: %s\n%s\n", s.ID, s.Definition.Title, differences(s))
	return a.studyText(s)
}

// studyText writes a study's table, its chart, and what the paper says.
func (a *App) studyText(s *study.Study) error {
	results, err := s.Results()
	if err != nil {
		return err
	}
	if err := studyTable(a.Out, s, results); err != nil {
		return err
	}
	width := terminalWidth(a.Out)
	if width == 0 || width > 100 {
		width = 100
	}
	var lines []charts.Series
	for _, c := range s.Curves(results) {
		l := charts.Series{Name: c.Name, Level: c.Level}
		for _, p := range c.Points {
			l.Points = append(l.Points, charts.Point(p))
		}
		if len(l.Points) > 0 {
			lines = append(lines, l)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(a.Out, "\n%s\n%s\n", measured(s), charts.Render(lines, charts.Options{Width: width, Height: 20, XLabel: s.Definition.X, Focus: -1}))
	}
	if len(s.Definition.Says) > 0 {
		fmt.Fprintf(a.Out, "\nthe paper (%s) says:\n", s.Definition.Source)
		for _, text := range s.Definition.Says {
			fmt.Fprintf(a.Out, "  %s\n", text)
		}
	}
	if n := unfinished(results); n > 0 {
		fmt.Fprintf(a.Out, "\n%d of %d cells are not done; go on with: hatchery study resume %s\n", n, len(results), s.ID)
	}
	return nil
}

// measured names what a study measures.
func measured(s *study.Study) string {
	switch s.Definition.Measure {
	case presets.MeasureAssembled:
		return "top-1 of the assembled model before fine-tuning, %"
	case presets.MeasureGain:
		return "gain in top-1 over the meta model, points"
	}
	return "top-1, %"
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
	percent := func(x float64) string {
		if math.IsNaN(x) {
			return "-"
		}
		return fmt.Sprintf("%.2f", x)
	}
	for _, r := range results {
		if r.Values == nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t\t\t\t\t\n", r.Series, r.Label, r.Phase)
			continue
		}
		if gain {
			var gains []string
			for _, g := range r.Gains {
				gains = append(gains, fmt.Sprintf("%+.2f", g))
			}
			fmt.Fprintf(w, "%s\t%s\t%+.2f\t%s\t\n", r.Series, r.Label, s.Measured(r), strings.Join(gains, "  "))
			continue
		}
		paper := "-"
		if r.Paper != nil {
			paper = fmt.Sprintf("%.1f", r.Paper.Value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t\n", r.Series, r.Label, percent(r.Values.Get(pipeline.Assembled)), percent(r.Values.Get(runs.Top1)), paper,
			duration(r.Values.Get(pipeline.TrainSeconds)), r.Proportion())
	}
	return w.Flush()
}

// studyJSON writes the results as one JSON object.
func (a *App) studyJSON(s *study.Study) error {
	results, err := s.Results()
	if err != nil {
		return err
	}
	type row struct {
		study.Cell
		Phase    runs.Phase  `json:"phase"`
		Measured *float64    `json:"measured"` // null while it is not known
		Paper    *float64    `json:"paper"`    // null where the paper prints none
		Values   runs.Values `json:"values,omitempty"`
		Gains    []float64   `json:"gains,omitempty"`
		Shared   []string    `json:"shared,omitempty"`
	}
	rows := []row{}
	for _, r := range results {
		x := row{Cell: r.Cell, Phase: r.Phase, Values: r.Values, Gains: r.Gains, Shared: r.Shared}
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
