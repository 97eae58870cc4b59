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

// Compare sets runs beside each other: the settings that differ, the results,
// and the curves of a stage.
type Compare struct {
	env    *Env
	w, h   int
	runs   []compared
	look   chart
	stage  int
	at     int // focused run
	top    int // of the table
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
	{Name: "compare.focus", Keys: []string{"tab"}, Help: "next run", Short: true, Do: func(p *Compare) tea.Cmd { p.at = (p.at + 1) % len(p.runs); return nil }},
	{Name: "compare.up", Keys: []string{"up", "k"}, Help: "up", Do: func(p *Compare) tea.Cmd { p.top = max(0, p.top-1); return nil }},
	{Name: "compare.down", Keys: []string{"down", "j"}, Help: "down", Do: func(p *Compare) tea.Cmd {
		p.top = max(0, min(p.top+1, len(p.settings())+len(p.results())-1))
		return nil
	}},
	{Name: "compare.open", Keys: []string{"enter"}, Help: "watch the run", Do: func(p *Compare) tea.Cmd { return send(Push{NewDashboard(p.env, p.runs[p.at].dir)}) }},
	{Name: "compare.csv", Keys: []string{"e"}, Help: "export CSV", Short: true, Do: func(p *Compare) tea.Cmd { return p.export("compare.csv") }},
	{Name: "compare.json", Keys: []string{"E"}, Help: "export JSON", Do: func(p *Compare) tea.Cmd { return p.export("compare.json") }},
}, chartKeys[*Compare]()...)

// NewCompare compares runs with the first of them.
func NewCompare(env *Env, dirs []string) *Compare {
	p := &Compare{env: env}
	for _, d := range dirs {
		p.runs = append(p.runs, compared{dir: d})
	}
	return p
}

// Init begins to follow the runs.
func (p *Compare) Init() tea.Cmd {
	ctx, cancel := context.WithCancel(p.env.Ctx)
	p.cancel = cancel
	var all []tea.Cmd
	for _, r := range p.runs {
		all = append(all, next(p, watch.Follow(ctx, r.dir, p.env.Every)), readConfig(p, r.dir))
	}
	return tea.Batch(all...)
}

// Close ends to follow them.
func (p *Compare) Close() {
	if p.cancel != nil {
		p.cancel()
	}
}

// Update takes what is new of a run.
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

func (p *Compare) chart() *chart { return &p.look }

// stages are the names of the stages that have curves. Those that train the target model
// by the first method come first, since they are what an experiment is for.
func (p *Compare) stages() []string {
	var first, others []string
	method := "" // the first one
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

func (p *Compare) chosen() string {
	names := p.stages()
	if len(names) == 0 {
		return ""
	}
	return names[p.stage%len(names)]
}

// letter names a run in the table and in the curves.
func letter(i int) string { return string(rune('A' + i%26)) }

func (p *Compare) curves() []charts.Series {
	var all []charts.Series
	stage := p.chosen()
	for i, r := range p.runs {
		s := charts.Series{Name: letter(i), Mark: rune('a' + i%26), Style: p.env.Theme.Curve(i)}
		if r.snap.State != nil && stage != "" {
			s.Points = p.look.curve(r.snap, stage)
		}
		all = append(all, s)
	}
	return all
}

// line is a line of the comparison.
type line struct {
	name   string
	values []string // one a run
	metric bool
	number []float64 // of a metric, NaN where there is none
}

// settings are those in which the runs differ.
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

// results are the accuracies and losses of the stages, each run's with its
// difference from the first.
func (p *Compare) results() []line {
	var lines []line
	add := func(name, format string, get func(r compared) float64) {
		l := line{name: name, metric: true}
		any := false
		for i, r := range p.runs {
			v := math.NaN()
			if r.snap.State != nil {
				v = get(r)
			}
			l.number = append(l.number, v)
			text := ""
			if !math.IsNaN(v) {
				any = true
				text = fmt.Sprintf(format, v)
				if i > 0 && !math.IsNaN(l.number[0]) {
					text += fmt.Sprintf(" (%+.3g)", v-l.number[0])
				}
			}
			l.values = append(l.values, text)
		}
		if any {
			lines = append(lines, l)
		}
	}
	for _, stage := range p.stages() {
		of := func(r compared) *runs.StageState { return r.snap.State.Stage(stage) }
		add(stage+" best top-1, %", "%.2f", func(r compared) float64 {
			if st := of(r); st != nil {
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
				if st := of(r); st != nil {
					return st.Last.Get(m.name)
				}
				return math.NaN()
			})
		}
		add(stage+" seconds", "%.0f", func(r compared) float64 {
			if st := of(r); st != nil && st.Elapsed > 0 {
				return st.Elapsed
			}
			return math.NaN()
		})
	}
	return lines
}

// Press does what a key does.
func (p *Compare) Press(k tea.KeyPressMsg) (tea.Cmd, bool) { return compareKeys.Press(p, k.String()) }

// Call does the action of a name.
func (p *Compare) Call(name string) (tea.Cmd, bool) { return compareKeys.Call(p, name) }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Compare) FullHelp() []keymap.Entry  { return compareKeys.Entries(p) }
func (p *Compare) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing is never the case.
func (p *Compare) Typing() bool { return false }

// Title names the page.
func (p *Compare) Title() string { return fmt.Sprintf("compare %d runs", len(p.runs)) }

// Copy is the table as CSV.
func (p *Compare) Copy() string { return string(p.csv()) }

// SetSize takes the size of the body.
func (p *Compare) SetSize(w, h int) { p.w, p.h = w, h }

// View draws the table above the curves.
func (p *Compare) View() string {
	t := p.env.Theme
	low := 0
	if p.h >= 18 {
		low = p.h / 2
	}
	w, h := components.Inside(p.w, p.h-low)
	var lines []string
	for i, r := range p.runs {
		state := "reading"
		if r.snap.State != nil {
			state = liveWord(p.env, r.snap.Live)
			if r.snap.Reading {
				state += fmt.Sprintf(", reading (%d events)", r.snap.Events)
			}
		}
		lines = append(lines, t.Curve(i).Render(letter(i))+" "+components.Cut(t, filepath.Base(r.dir), w-24)+" "+state)
	}
	columns := []components.Column{{Title: "", Least: 16}}
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
		lines = append(lines, t.Dim.Render("the settings are the same"))
	}
	lines = append(lines, components.Table(t, columns, rows[top:], -1, w)...)
	view := components.Panel(t, "what differs", strings.Join(lines[:min(h, len(lines))], "\n"), p.w, p.h-low)
	if low == 0 {
		return view
	}
	iw, ih := components.Inside(p.w, low)
	series := p.curves()
	title := p.chosen() + ": " + p.look.title()
	if p.look.numbers {
		return view + "\n" + components.Panel(t, title, strings.Join(numbers(t, series, across[p.look.axis], iw, ih), "\n"), p.w, low)
	}
	return view + "\n" + components.Panel(t, title, charts.Render(series, p.look.options(t, series, iw, ih, p.at)), p.w, low)
}
