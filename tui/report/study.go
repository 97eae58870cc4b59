package report

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// Study returns a report of a study, which need not be done. If ctx is done, it returns the
// error of ctx.
func Study(ctx context.Context, s *study.Study) (*Document, error) {
	results := s.Results(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	def := s.Definition
	d := &Document{Title: printable.Line(def.Title), ID: printable.Line(s.ID), Created: time.Now()}
	done := 0
	for _, r := range results {
		if r.Phase == runs.Finished {
			done++
		}
	}
	d.Facts = append(d.Facts, Fact{"source in the paper", def.Source}, Fact{"cells", fmt.Sprintf("%d of %d done", done, len(results))}, Fact{"started", formatTime(s.Created)})
	if s.Options.Small {
		d.Facts = append(d.Facts, Fact{"variant", "for a small machine, with a network and data other than the paper's"})
	}
	if f := s.Options.Scale; f > 0 && f < 1 {
		d.Facts = append(d.Facts, Fact{"length", fmt.Sprintf("%g of the epochs, at least one per stage", f)})
	}
	if len(s.Options.Set) > 0 {
		d.Facts = append(d.Facts, Fact{"changed", strings.Join(s.Options.Set, ", ")})
	}
	if def.Notes != "" {
		d.Notes = append(d.Notes, printable.Text(def.Notes))
	}
	for _, text := range def.Says {
		d.Notes = append(d.Notes, printable.Line(fmt.Sprintf("The paper (%s): “%s”", def.Source, text)))
	}
	t := Table{Name: "results", Caption: "All cells; top-1 in %, gain in percentage points, time of training only",
		Head: []string{"series", printable.Line(def.X), "state", "assembled", "top-1", "paper", "mean gain", "training, s", "modular, %", "stages taken over", "run"}}
	for _, r := range results {
		paper := math.NaN()
		if r.Paper != nil {
			paper = r.Paper.Value
		}
		t.Rows = append(t.Rows, Row{text(r.Series), text(r.Label), text(string(r.Phase)), number(r.Values.Get(pipeline.Assembled), 2), number(r.Values.Get(runs.Top1), 2),
			number(paper, 1), signed(mean(r.Gains)), number(r.Values.Get(pipeline.TrainSeconds), 1), number(r.Proportion(), 0),
			text(strings.Join(r.Shared, " ")), text(r.Run)})
		if r.Err == nil && d.Config == "" {
			r.Err = d.addCell(ctx, s, r)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		if r.Err != nil {
			d.Errors = append(d.Errors, fmt.Sprintf("cell %s cannot be read: %v", r.Name, r.Err))
		}
	}
	d.Tables = append(d.Tables, t)
	c := Chart{Name: "chart", Title: def.Title, X: def.X, Y: def.MeasureTitle()}
	for _, l := range s.Curves(results) {
		if len(l.Points) > 0 {
			c.Lines = append(c.Lines, Line{Curve: l})
		}
	}
	c.Lines = append(c.Lines, paperLines(s, results)...)
	d.Charts = append(d.Charts, c)
	d.printable()
	return d, nil
}

// addCell adds the configuration and the environment of a cell to the document.
func (d *Document) addCell(ctx context.Context, s *study.Study, r study.Result) error {
	c, err := s.Config(r.Cell)
	if err != nil {
		return err
	}
	d.Config = fmt.Sprintf("# cell %s\n%s", r.Name, c.TOML())
	if r.Phase == runs.Waiting {
		return nil
	}
	state, err := runs.ReadState(ctx, s.RunDir(r.Cell))
	if err != nil {
		return err
	}
	d.Facts = append(d.Facts, environment(state.Environment)...)
	return nil
}

// paperLines returns the paper's numbers as lines of their own. It returns none unless the
// X axis of the study is a value that the paper's points have too.
func paperLines(s *study.Study, results []study.Result) []Line {
	if s.Definition.Against != presets.AgainstValue {
		return nil
	}
	var lines []Line
	index := map[string]int{} // into lines, by name
	for _, r := range results {
		if r.Paper == nil {
			continue
		}
		name := "paper: " + r.Series
		i, ok := index[name]
		if !ok {
			i = len(lines)
			index[name] = i
			lines = append(lines, Line{Curve: study.Curve{Name: name}, Paper: true})
		}
		x := s.X(r)
		if math.IsNaN(x) {
			lines[i].Level, x = true, 0
		}
		lines[i].Points = append(lines[i].Points, study.Point{X: x, Y: r.Paper.Value})
	}
	return lines
}

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs)) // NaN if xs is empty
}
