package pages

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/watch"
)

// Compare is the page that compares runs: the settings that differ, the results, and the
// curves of a stage.
type Compare struct {
	env    *Env
	w, h   int
	runs   []compared
	plot   chart
	stage  int // index in stages, modulo their number
	focus  int // index of the focused run
	top    int // first visible row of the table
	cancel context.CancelFunc
}

// compared is one of the runs.
type compared struct {
	dir    string
	config *presets.Config
	snap   watch.Snapshot
}

var compareKeys = append(keymap.Table[*Compare]{
	{Name: "compare.stage", Keys: []string{"s"}, Help: "next stage", Short: true, Do: func(p *Compare) tea.Cmd { p.stage++; return nil }},
	{Name: "compare.focus", Keys: []string{"tab"}, Help: "next run", Short: true, Do: func(p *Compare) tea.Cmd { p.focus = (p.focus + 1) % len(p.runs); return nil }},
	{Name: "compare.up", Keys: []string{"up", "k"}, Help: "up", Do: func(p *Compare) tea.Cmd { p.top = max(0, p.top-1); return nil }},
	{Name: "compare.down", Keys: []string{"down", "j"}, Help: "down", Do: func(p *Compare) tea.Cmd {
		p.top = max(0, min(p.top+1, len(p.settings())+len(p.results())-1))
		return nil
	}},
	{Name: "compare.open", Keys: []string{"enter"}, Help: "watch the run", Do: func(p *Compare) tea.Cmd { return send(Push{NewDashboard(p.env, p.runs[p.focus].dir)}) }},
	{Name: "compare.csv", Keys: []string{"e"}, Help: "export CSV", Short: true, Do: func(p *Compare) tea.Cmd { return p.export("compare.csv") }},
	{Name: "compare.json", Keys: []string{"E"}, Help: "export JSON", Do: func(p *Compare) tea.Cmd { return p.export("compare.json") }},
}, chartKeys[*Compare]()...)

// NewCompare returns a page that compares the runs in dirs with the first of them.
func NewCompare(env *Env, dirs []string) *Compare {
	p := &Compare{env: env}
	for _, d := range dirs {
		p.runs = append(p.runs, compared{dir: d})
	}
	return p
}

// Init starts following the runs.
func (p *Compare) Init() tea.Cmd {
	ctx, cancel := context.WithCancel(p.env.Ctx)
	p.cancel = cancel
	var all []tea.Cmd
	for _, r := range p.runs {
		all = append(all, next(p, watch.Follow(ctx, r.dir, p.env.Every)), readConfig(p, r.dir))
	}
	return tea.Batch(all...)
}

// Close stops following the runs.
func (p *Compare) Close() {
	if p.cancel != nil {
		p.cancel()
	}
}

// Update handles the results of commands.
func (p *Compare) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case snapshotMsg:
		if msg.owner != p {
			return nil
		}
		for i := range p.runs {
			if p.runs[i].dir == msg.snap.Dir {
				p.runs[i].snap = msg.snap
			}
		}
		return next(p, msg.ch)
	case configMsg:
		if msg.owner != p {
			return nil
		}
		for i := range p.runs {
			if p.runs[i].dir == msg.dir {
				p.runs[i].config = msg.config
			}
		}
		if msg.err != nil {
			return fail(msg.err)
		}
	}
	return nil
}

func (p *Compare) chart() *chart { return &p.plot }

// stages returns the names of the stages that have curves. Those that train the target
// model with the first method come first, because they matter most.
func (p *Compare) stages() []string {
	var first, others []string
	method := "" // the first method
	for _, r := range p.runs {
		if r.snap.State == nil {
			continue
		}
		for _, st := range r.snap.State.Stages {
			method = cmp.Or(method, st.Method)
			switch {
			case len(st.Points) == 0 || slices.Contains(first, st.Name) || slices.Contains(others, st.Name):
			case st.Target && st.Recipe != "" && st.Method == method:
				first = append(first, st.Name)
			default:
				others = append(others, st.Name)
			}
		}
	}
	return append(first, others...)
}

// selectedStage returns the name of the stage whose curves are shown.
func (p *Compare) selectedStage() string {
	names := p.stages()
	if len(names) == 0 {
		return ""
	}
	return names[p.stage%len(names)]
}

// letter returns the letter of run i in the table and in the chart.
func letter(i int) string { return string(rune('A' + i%26)) }

func (p *Compare) curves() []charts.Series {
	var all []charts.Series
	stage := p.selectedStage()
	for i, r := range p.runs {
		s := charts.Series{Name: letter(i), Mark: rune('a' + i%26), Style: p.env.Theme.Curve(i)}
		if r.snap.State != nil && stage != "" {
			s.Points = p.plot.curve(r.snap, stage)
		}
		all = append(all, s)
	}
	return all
}

// line is a line of the comparison: a setting or a metric.
type line struct {
	name    string
	values  []string // one for each run
	metric  bool
	numbers []float64 // of a metric, one for each run; NaN if it has none
}

// settings returns the settings in which the runs differ.
func (p *Compare) settings() []line {
	var lines []line
	for _, f := range fields {
		l := line{name: f.Key}
		differs := false
		for _, r := range p.runs {
			v := ""
			if r.config != nil {
				v = f.Text(r.config)
			}
			l.values = append(l.values, v)
			differs = differs || v != l.values[0]
		}
		if differs {
			lines = append(lines, l)
		}
	}
	return lines
}

// results returns the accuracies, losses and times of the stages, with the differences from
// the first run.
func (p *Compare) results() []line {
	var lines []line
	add := func(name, format string, get func(r compared) float64) {
		l := line{name: name, metric: true}
		found := false
		for i, r := range p.runs {
			v := math.NaN()
			if r.snap.State != nil {
				v = get(r)
			}
			l.numbers = append(l.numbers, v)
			text := ""
			if !math.IsNaN(v) {
				found = true
				text = fmt.Sprintf(format, v)
				if i > 0 && !math.IsNaN(l.numbers[0]) {
					text += fmt.Sprintf(" (%+.3g)", v-l.numbers[0])
				}
			}
			l.values = append(l.values, text)
		}
		if found {
			lines = append(lines, l)
		}
	}
	for _, stage := range p.stages() {
		state := func(r compared) *runs.StageState { return r.snap.State.Stage(stage) }
		add(stage+" best top-1, %", "%.2f", func(r compared) float64 {
			if st := state(r); st != nil {
				if b, ok := st.Best(); ok {
					return b.Values[runs.Top1]
				}
			}
			return math.NaN()
		})
		for _, m := range []struct{ title, name, format string }{
			{"last top-1, %", runs.Top1, "%.2f"}, {"last loss", runs.Loss, "%.4f"}, {"last eval loss", runs.EvalLoss, "%.4f"},
		} {
			add(stage+" "+m.title, m.format, func(r compared) float64 {
				if st := state(r); st != nil {
					return st.Last.Get(m.name)
				}
				return math.NaN()
			})
		}
		add(stage+" seconds", "%.0f", func(r compared) float64 {
			if st := state(r); st != nil && st.Elapsed > 0 {
				return st.Elapsed
			}
			return math.NaN()
		})
	}
	return lines
}

// Press handles a key.
func (p *Compare) Press(k tea.KeyPressMsg) (tea.Cmd, bool) { return compareKeys.Press(p, k.String()) }

// Call performs the named action.
func (p *Compare) Call(name string) (tea.Cmd, bool) { return compareKeys.Call(p, name) }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Compare) FullHelp() []keymap.Entry  { return compareKeys.Entries(p) }
func (p *Compare) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing returns false: the page has no input.
func (p *Compare) Typing() bool { return false }

// Title returns the title of the page.
func (p *Compare) Title() string { return fmt.Sprintf("compare %d runs", len(p.runs)) }

// Copy returns the table as CSV.
func (p *Compare) Copy() string { return string(p.csv()) }

// SetSize sets the size of the body.
func (p *Compare) SetSize(w, h int) { p.w, p.h = w, h }

// View draws the table and the chart below it.
func (p *Compare) View() string {
	t := p.env.Theme
	chartHeight := 0
	if p.h >= 18 {
		chartHeight = p.h / 2
	}
	w, h := components.InnerSize(p.w, p.h-chartHeight)
	var lines []string
	for i, r := range p.runs {
		state := "reading"
		if r.snap.State != nil {
			state = liveText(p.env, r.snap.Live)
			if r.snap.Reading {
				state += fmt.Sprintf(", reading (%d events)", r.snap.Events)
			}
		}
		lines = append(lines, t.Curve(i).Render(letter(i))+" "+components.Cut(t, filepath.Base(r.dir), w-24)+" "+state)
	}
	columns := []components.Column{{Title: "", MinWidth: 16}}
	for i := range p.runs {
		columns = append(columns, components.Column{Title: letter(i), Right: true})
	}
	var rows [][]string
	settings := p.settings()
	for _, l := range append(settings, p.results()...) {
		row := []string{l.name}
		for _, v := range l.values {
			if !l.metric {
				v = t.Changed.Render(v)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	top := min(p.top, max(0, len(rows)-1))
	if len(settings) == 0 {
		lines = append(lines, t.Dim.Render("all settings are the same"))
	}
	lines = append(lines, components.Table(t, columns, rows[top:], -1, w)...)
	view := components.Panel(t, "differences", strings.Join(lines[:min(h, len(lines))], "\n"), p.w, p.h-chartHeight)
	if chartHeight == 0 {
		return view
	}
	iw, ih := components.InnerSize(p.w, chartHeight)
	series := p.curves()
	title := p.selectedStage() + ": " + p.plot.title()
	if p.plot.table {
		return view + "\n" + components.Panel(t, title, strings.Join(numbers(t, series, xAxes[p.plot.axis], iw, ih), "\n"), p.w, chartHeight)
	}
	return view + "\n" + components.Panel(t, title, charts.Render(series, p.plot.options(t, series, iw, ih, p.focus)), p.w, chartHeight)
}
