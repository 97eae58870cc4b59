package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/pages"
)

// StudyStatus shows the results of a study so far.
type StudyStatus struct {
	StudyArg
	JSON bool `help:"Write the results as JSON."`
}

func (*StudyStatus) Effect() Effect { return Reads }

func (cmd *StudyStatus) Run(ctx context.Context, a *App) error {
	s, err := a.findStudy(cmd.Study)
	if err != nil {
		return err
	}
	if cmd.JSON {
		return a.studyJSON(ctx, s)
	}
	fmt.Fprintf(a.Out, "%s\n%s\n", titled(s.ID, s.Definition.Title), differences(s))
	return a.studyText(ctx, s)
}

// studyText writes a study's table, its chart, and the paper's statements.
func (a *App) studyText(ctx context.Context, s *study.Study) error {
	results, err := results(ctx, s)
	if err != nil {
		return err
	}
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
		fmt.Fprintf(a.Out, "\n%d of %d cells are not done; resume with: hatchery study resume %s\n", n, len(results), s.ID)
	}
	return nil
}

// studyNotes writes why cells have failed, and which cells cannot be compared with the
// others.
func studyNotes(out io.Writer, results []study.Result) {
	for _, r := range results {
		if r.Failure != "" {
			fmt.Fprintf(out, "cell %s, %s: %s\n", printable.Line(r.Name), r.Phase, strings.ReplaceAll(printable.Text(r.Failure), "\n", "\n  "))
		}
	}
	for _, r := range results {
		if r.DataDifference != "" {
			fmt.Fprintf(out, "cell %s cannot be compared with the others: it was trained on other data (%s)\n", printable.Line(r.Name), printable.Line(r.DataDifference))
		}
	}
}

// studyTable writes a table with a row for each cell and the paper's numbers.
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
			fmt.Fprintf(w, "%s\t%s\t%+.2f\t%s\t\n", series, label, s.Y(r), strings.Join(gains, "  "))
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
func (a *App) studyJSON(ctx context.Context, s *study.Study) error {
	results, err := results(ctx, s)
	if err != nil {
		return err
	}
	type row struct {
		study.Cell
		Phase    runs.Phase  `json:"phase"`
		Measured *float64    `json:"measured"` // null while unknown
		Paper    *float64    `json:"paper"`    // null if the paper prints none
		Values   runs.Values `json:"values,omitempty"`
		Gains    []float64   `json:"gains,omitempty"`
		Shared   []string    `json:"shared,omitempty"`
		Error    string      `json:"error,omitempty"` // why the cell cannot be read

		Crashed   bool   `json:"crashed,omitempty"`    // its process ended without a final status
		Failure   string `json:"failure,omitempty"`    // why the cell failed, or why its run is missing
		OtherData string `json:"other_data,omitempty"` // how its data differ from those of the other cells
	}
	rows := []row{}
	for _, r := range results {
		x := row{Cell: r.Cell, Phase: r.Phase, Values: r.Values, Gains: r.Gains, Shared: r.Shared, Crashed: r.Crashed, Failure: r.Failure, OtherData: r.DataDifference}
		if r.Err != nil {
			x.Error = r.Err.Error()
		}
		if m := s.Y(r); !math.IsNaN(m) {
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
