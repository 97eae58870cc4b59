// Package report writes the results of a run or a study as a self-contained HTML file,
// without scripts, fonts or anything from the network. It shows every curve as a chart
// and as a table, and adapts to light and dark screens. CSV files hold the same numbers
// for other programs.
package report

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// Document is a report before it is written.
type Document struct {
	Title   string
	ID      string // of the run or study
	Facts   []Fact // summary
	Tables  []Table
	Charts  []Chart
	Notes   []string // remarks, and quotations from the paper
	Errors  []string // warnings and errors of the run
	Config  string   // TOML
	Created time.Time
}

// Fact is a named value.
type Fact struct{ Name, Value string }

// Table is a table with a caption and a name that can be part of a file name. Cells hold
// numbers in full precision; see Cell.Shown and Cell.Exact.
type Table struct {
	Name, Caption string
	Head          []string
	Rows          []Row
}

// Right reports whether a column holds numbers, which are aligned to the right.
func (t Table) Right(column int) bool { return len(t.Rows) > 0 && t.Rows[0][column].IsNumber() }

// Row is a row of a table. The first cell is its header.
type Row []Cell

// Cell is a text or a number.
type Cell struct {
	Text   string
	Number float64
	Digits int // number of digits after the decimal point to show
	Signed bool
	number bool
}

func text(s string) Cell { return Cell{Text: printable.Line(s)} }

func number(x float64, digits int) Cell { return Cell{Number: x, Digits: digits, number: true} }

func signed(x float64) Cell {
	return Cell{Number: x, Digits: 2, Signed: true, number: true}
}

// Shown returns the text of the cell for people. It is a dash if a number is unknown.
func (c Cell) Shown() string {
	switch {
	case !c.number:
		return c.Text
	case math.IsNaN(c.Number):
		return "–"
	case c.Signed:
		return fmt.Sprintf("%+.*f", c.Digits, c.Number)
	}
	return strconv.FormatFloat(c.Number, 'f', c.Digits, 64)
}

// Exact returns the text of the cell for programs. It is empty if a number is unknown.
// Text that a spreadsheet would take for a formula is prefixed with an apostrophe, unless
// it is a number.
func (c Cell) Exact() string {
	if !c.number {
		x, err := strconv.ParseFloat(c.Text, 64)
		isNumber := err == nil && !math.IsInf(x, 0) && !math.IsNaN(x)
		if first, _ := utf8.DecodeRuneInString(c.Text); strings.ContainsRune("=+-@\t\r＝＋－＠", first) && !isNumber {
			return "'" + c.Text
		}
		return c.Text
	}
	if math.IsNaN(c.Number) {
		return ""
	}
	return strconv.FormatFloat(c.Number, 'g', -1, 64)
}

// IsNumber reports whether the cell is a number.
func (c Cell) IsNumber() bool { return c.number }

// Run returns a report of the run in dir, which need not be done. If ctx is done, it
// returns the error of ctx.
func Run(ctx context.Context, dir string) (*Document, error) {
	c, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		return nil, err
	}
	state, err := runs.ReadState(ctx, dir)
	if err != nil {
		return nil, err
	}
	live, err := runs.ReadLiveness(dir, time.Now())
	if err != nil {
		return nil, err
	}
	state.Settle(live)
	state.ApplyOutcomes(dir)
	d := &Document{Title: printable.Line(c.Title), ID: printable.Line(filepath.Base(dir)), Config: string(c.TOML()), Created: time.Now()}
	d.Facts = append(d.Facts,
		Fact{"preset", c.Name}, Fact{"state", live.String()}, Fact{"seed", fmt.Sprint(c.Seed)},
		Fact{"schedule", c.Schedule}, Fact{"modules", fmt.Sprintf("K = %d, meta depth %d", c.Modules.K, c.Modules.MetaDepth)},
		Fact{"started", formatTime(state.Started)}, Fact{"last event", formatTime(state.Updated)}, Fact{"elapsed", elapsed(state)})
	d.Facts = append(d.Facts, environment(state.Environment)...)
	d.addResults(c, state)
	d.addModules(state)
	if err := d.addStages(dir, state); err != nil {
		return nil, err
	}
	for _, m := range []struct{ name, title, value string }{
		{"accuracy", "top-1 accuracy on the evaluation images, %", runs.Top1},
		{"loss", "training loss", runs.Loss},
		{"lr", "learning rate", runs.LR},
	} {
		d.Charts = append(d.Charts, newChart(state, m.name, m.title, m.value))
	}
	if c.Notes != "" {
		d.Notes = append(d.Notes, printable.Text(c.Notes))
	}
	for _, n := range slices.Concat(state.Warnings, state.Errors) {
		line := formatTime(n.Time) + " "
		if n.Stage != "" {
			line += n.Stage + ": "
		}
		d.Errors = append(d.Errors, printable.Text(line+n.Message))
	}
	d.printable()
	return d, nil
}

// printable makes facts and the names of charts and lines safe to show. The cells of
// tables are made safe when they are created.
func (d *Document) printable() {
	for i := range d.Facts {
		d.Facts[i].Value = printable.Line(d.Facts[i].Value)
	}
	for i := range d.Charts {
		c := &d.Charts[i]
		c.Title, c.X, c.Y = printable.Line(c.Title), printable.Line(c.X), printable.Line(c.Y)
		for j := range c.Lines {
			c.Lines[j].Name = printable.Line(c.Lines[j].Name)
		}
	}
}

// environment returns facts about the program and the machine, in a fixed order.
func environment(env map[string]string) []Fact {
	var facts []Fact
	for _, name := range []string{"device", "host", "system", "cores", "vectors", "program", "go"} {
		if v := env[name]; v != "" {
			facts = append(facts, Fact{name, v})
		}
	}
	return facts
}

// addResults adds the table that compares the methods with the paper's numbers.
func (d *Document) addResults(c *presets.Config, s *runs.State) {
	t := Table{Name: "results", Caption: "Results of each method; top-1 in %, time of training only",
		Head: []string{"method", "assembled", "top-1", "paper's top-1", "best", "best epoch", "training, s", "CPU time, s", "source"}}
	row := func(method string, v runs.Values) {
		paper, source := math.NaN(), ""
		for _, p := range c.Paper {
			if p.Method == method && p.Metric == runs.Top1 {
				paper, source = p.Value, p.Source
			}
		}
		t.Rows = append(t.Rows, Row{text(method), number(v.Get(pipeline.Assembled), 2), number(v.Get(runs.Top1), 2), number(paper, 1),
			number(v.Get(pipeline.Best), 2), number(v.Get(pipeline.BestEpoch), 0),
			number(v.Get(pipeline.TrainSeconds), 1), number(v.Get(pipeline.CPUSeconds), 1), text(source)})
	}
	var seen []string
	for _, r := range s.Results {
		row(r.Method, r.Values)
		seen = append(seen, r.Method)
	}
	for _, p := range c.Paper { // other methods that the paper reports
		if p.Metric == runs.Top1 && !slices.Contains(seen, p.Method) {
			row(p.Method, nil)
			seen = append(seen, p.Method)
		}
	}
	if len(t.Rows) > 0 {
		d.Tables = append(d.Tables, t)
	}
}

// addModules adds the table of the gain of each module over the meta model.
func (d *Document) addModules(s *runs.State) {
	t := Table{Name: "modules", Caption: "Each module inside the meta model (paper figure 9); top-1 in %, gain in percentage points",
		Head: []string{"stage", "top-1", "gain over the meta model"}}
	for i := range s.Stages {
		st := &s.Stages[i]
		if gain, ok := st.Results[pipeline.Gain]; ok {
			t.Rows = append(t.Rows, Row{text(st.Name), number(st.Results.Get(runs.Top1), 2), signed(gain)})
		}
	}
	if len(t.Rows) > 0 {
		d.Tables = append(d.Tables, t)
	}
}

// addStages adds the table of the steps and the time of each stage.
func (d *Document) addStages(dir string, s *runs.State) error {
	t := Table{Name: "stages", Caption: "Stages in the order of execution; elapsed time includes evaluation and saving",
		Head: []string{"stage", "state", "epochs", "steps", "top-1", "training, s", "CPU time, s", "elapsed, s", "attempts", "taken over from"}}
	for i := range s.Stages {
		st := &s.Stages[i]
		o, err := runs.ReadOutcome(dir, st.Name)
		if err != nil {
			return err
		}
		var v runs.Values
		origin := ""
		if o != nil {
			v, origin = o.Values, o.Origin
		}
		seconds, attempts := st.Elapsed, float64(st.Attempts)
		if st.Unrecorded {
			seconds, attempts = math.NaN(), math.NaN()
		}
		t.Rows = append(t.Rows, Row{text(st.Name), text(string(st.Phase)), number(float64(st.Epoch), 0), number(float64(st.Step), 0), number(v.Get(runs.Top1), 2),
			number(v.Get(pipeline.TrainSeconds), 1), number(v.Get(pipeline.CPUSeconds), 1), number(seconds, 1), number(attempts, 0), text(origin)})
	}
	d.Tables = append(d.Tables, t)
	return nil
}

// newChart returns the chart of one value over the epochs, with a line for each stage.
func newChart(s *runs.State, name, title, value string) Chart {
	c := Chart{Name: name, Title: title, X: "epoch of the stage", Y: title}
	for i := range s.Stages {
		l := Line{Curve: study.Curve{Name: s.Stages[i].Name}}
		for _, p := range s.Stages[i].Points {
			if y, ok := p.Values[value]; ok && !math.IsNaN(y) && !math.IsInf(y, 0) {
				l.Points = append(l.Points, study.Point{X: float64(p.Epoch), Y: y})
			}
		}
		if len(l.Points) > 0 {
			c.Lines = append(c.Lines, l)
		}
	}
	return c
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// elapsed returns the time that a run took, or "unknown" if it is not recorded completely.
func elapsed(s *runs.State) string {
	if s.Unrecorded() {
		return "unknown"
	}
	return quantity.Duration(s.Elapsed)
}
