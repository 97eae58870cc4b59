// Package report writes what a run or a study came to as one HTML file that
// needs nothing else: no network, no scripts, no fonts. Every curve is there
// as a table too, and both forms go with light and dark screens. CSV files hold
// the same numbers for other programs.
//
//	d, err := report.Run(ctx, "runs/quickstart-20261123-...")
//	err = d.HTML(file)
//	err = d.CSV("folder")
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
	Facts   []Fact // what to know first
	Tables  []Table
	Charts  []Chart
	Notes   []string // what the paper says, and what else is to be kept in mind
	Errors  []string // warnings and errors of the run
	Config  string   // TOML
	Created time.Time
}

// Fact is a name and what it stands for.
type Fact struct{ Name, Value string }

// Table is a table with a name, fit for a file's name, and a caption. Numbers
// are in their full precision in Rows and as people read them in Shown.
type Table struct {
	Name, Caption string
	Head          []string
	Rows          []Row
}

// Right says whether a column holds numbers and so is set to the right.
func (t Table) Right(column int) bool { return len(t.Rows) > 0 && t.Rows[0][column].IsNumber() }

// Row is a line of a table. The first cell names it.
type Row []Cell

// Cell is a text, or a number with the digits after the point that people want.
type Cell struct {
	Text   string
	Number float64
	Digits int
	Signed bool
	number bool
}

func text(s string) Cell { return Cell{Text: printable.Line(s)} }

func number(x float64, digits int) Cell { return Cell{Number: x, Digits: digits, number: true} }

func signed(x float64, digits int) Cell {
	return Cell{Number: x, Digits: digits, Signed: true, number: true}
}

// Shown is the cell for people; a number that is not known is a dash.
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

// Exact is the cell for programs; an unknown number is empty. Text that a spreadsheet
// would take for a formula gets an apostrophe before it, unless it is a number.
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

// IsNumber says whether the cell is set to the right.
func (c Cell) IsNumber() bool { return c.number }

// Run reports the run in dir, whether it is done or not. When ctx is done it returns
// its error.
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
		Fact{"started", moment(state.Started)}, Fact{"last event", moment(state.Updated)}, Fact{"elapsed", elapsed(state)})
	d.Facts = append(d.Facts, environment(state.Environment)...)
	d.results(c, state)
	d.modules(state)
	if err := d.stages(dir, state); err != nil {
		return nil, err
	}
	for _, m := range []struct{ name, title, value string }{
		{"accuracy", "top-1 accuracy on the evaluation images, %", runs.Top1},
		{"loss", "training loss", runs.Loss},
		{"lr", "learning rate", runs.LR},
	} {
		d.Charts = append(d.Charts, curves(state, m.name, m.title, m.value))
	}
	if c.Notes != "" {
		d.Notes = append(d.Notes, printable.Text(c.Notes))
	}
	for _, n := range slices.Concat(state.Warnings, state.Errors) {
		line := moment(n.Time) + " "
		if n.Stage != "" {
			line += n.Stage + ": "
		}
		d.Errors = append(d.Errors, printable.Text(line+n.Message))
	}
	d.printable()
	return d, nil
}

// printable makes facts and the names of charts and lines safe to show. Tables do that
// for themselves.
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

// environment lists the program and the machine in a fixed order.
func environment(env map[string]string) []Fact {
	var facts []Fact
	for _, name := range []string{"device", "host", "system", "cores", "vectors", "program", "go"} {
		if v := env[name]; v != "" {
			facts = append(facts, Fact{name, v})
		}
	}
	return facts
}

// results is the table of the methods beside the paper's numbers.
func (d *Document) results(c *presets.Config, s *runs.State) {
	t := Table{Name: "results", Caption: "Results of each method; top-1 in %, times of training alone",
		Head: []string{"method", "assembled", "top-1", "paper's top-1", "best", "best epoch", "training, s", "processor, s", "source"}}
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
	for _, p := range c.Paper { // methods that the paper has beside
		if p.Metric == runs.Top1 && !slices.Contains(seen, p.Method) {
			row(p.Method, nil)
			seen = append(seen, p.Method)
		}
	}
	if len(t.Rows) > 0 {
		d.Tables = append(d.Tables, t)
	}
}

// modules is the table of what each module adds to the meta model.
func (d *Document) modules(s *runs.State) {
	t := Table{Name: "modules", Caption: "Each module inside the meta model (paper figure 9); top-1 in %, gain in points",
		Head: []string{"stage", "top-1", "gain over the meta model"}}
	for i := range s.Stages {
		st := &s.Stages[i]
		if gain, ok := st.Results[pipeline.Gain]; ok {
			t.Rows = append(t.Rows, Row{text(st.Name), number(st.Results.Get(runs.Top1), 2), signed(gain, 2)})
		}
	}
	if len(t.Rows) > 0 {
		d.Tables = append(d.Tables, t)
	}
}

// stages is the table of what every stage took.
func (d *Document) stages(dir string, s *runs.State) error {
	t := Table{Name: "stages", Caption: "Stages in the order in which they run; elapsed on the clock, evaluation and saving included",
		Head: []string{"stage", "state", "epochs", "steps", "top-1", "training, s", "processor, s", "elapsed, s", "attempts", "taken over from"}}
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
		took, attempts := st.Elapsed, float64(st.Attempts)
		if st.Unrecorded {
			took, attempts = math.NaN(), math.NaN()
		}
		t.Rows = append(t.Rows, Row{text(st.Name), text(string(st.Phase)), number(float64(st.Epoch), 0), number(float64(st.Step), 0), number(v.Get(runs.Top1), 2),
			number(v.Get(pipeline.TrainSeconds), 1), number(v.Get(pipeline.CPUSeconds), 1), number(took, 1), number(attempts, 0), text(origin)})
	}
	d.Tables = append(d.Tables, t)
	return nil
}

// curves is the chart of one value over the epochs, a line a stage.
func curves(s *runs.State, name, title, value string) Chart {
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

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// elapsed is the time that a run took, where all of it is known.
func elapsed(s *runs.State) string {
	if s.Unrecorded() {
		return "not known"
	}
	return quantity.Duration(s.Elapsed)
}
