package pages

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/pipeline"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/watch"
)

// Study is the page that follows a study that was started: its cells and its chart.
type Study struct {
	env   *Env
	id    string
	w, h  int
	entry watch.StudyEntry
	read  bool
	list  components.List // of cells
	ticks int             // number of the present series of ticks; earlier ones are ignored
}

var studyKeys = append(keymap.Table[*Study]{
	{Name: "cell.open", Keys: []string{"enter"}, Help: "watch the run", Short: true, Do: (*Study).open},
	{Name: "study.stop", Keys: []string{"S"}, Help: "save and stop now", Short: true, Danger: true, When: (*Study).stoppable,
		Do: func(p *Study) tea.Cmd {
			return send(Ask{Text: "Save a checkpoint and stop the study now? It can be resumed.", Yes: func() tea.Msg { return stopStudyMsg{p} }})
		}},
	{Name: "study.resume", Keys: []string{"r"}, Help: "resume", Short: true, When: func(p *Study) bool { return p.env.Launcher != nil && resumableStudy(p.entry) },
		Do: func(p *Study) tea.Cmd { return resumeStudy(p, p.env, p.id) }},
	{Name: "study.log", Keys: []string{"L"}, Help: "log", Short: true, When: func(p *Study) bool { return p.entry.Study != nil },
		Do: func(p *Study) tea.Cmd { return send(Push{NewLog(p.env, p.entry.Study.LogPath())}) }},
}, listKeys[*Study](nil)...)

// NewStudy returns a page that shows the study with the given id.
func NewStudy(env *Env, id string) *Study { return &Study{env: env, id: id} }

type (
	// studyMsg is the result of readStudy.
	studyMsg struct {
		owner *Study
		entry watch.StudyEntry
	}
	// rereadStudyMsg says that it is time to read the study again.
	rereadStudyMsg struct {
		owner *Study
		tick  int
	}
	// stopStudyMsg says that the user has confirmed a stop.
	stopStudyMsg struct{ owner *Study }
)

// Init reads the study, now and at regular intervals.
func (p *Study) Init() tea.Cmd {
	p.ticks++
	return p.readStudy()
}

func (p *Study) readStudy() tea.Cmd {
	env, id := p.env, p.id
	return func() tea.Msg { return studyMsg{p, env.Scanner.Study(env.Ctx, id, env.Now())} }
}

// Close stops reading the study, which continues.
func (p *Study) Close() { p.ticks++ }

// Update handles the results of commands.
func (p *Study) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case studyMsg:
		if msg.owner != p {
			return nil
		}
		p.entry, p.read = msg.entry, true
		p.SetSize(p.w, p.h)
		n := p.ticks
		return tea.Tick(p.env.Every, func(time.Time) tea.Msg { return rereadStudyMsg{p, n} })
	case rereadStudyMsg:
		if msg.owner == p && msg.tick == p.ticks {
			return p.readStudy()
		}
	case stopStudyMsg:
		if msg.owner != p {
			return nil
		}
		env, id := p.env, p.id
		return tea.Batch(flash("stopping after the current step"), func() tea.Msg {
			err := env.Launcher.StopStudy(env.Ctx, id)
			return studyReplyMsg{p, "stopped; every finished step is in a checkpoint", err}
		})
	case studyReplyMsg:
		if msg.owner == p {
			return showReply(msg)
		}
	}
	return nil
}

func (p *Study) selected() *watch.StudyCell {
	if p.list.Selected >= len(p.entry.Cells) {
		return nil
	}
	return &p.entry.Cells[p.list.Selected]
}

func (p *Study) open() tea.Cmd {
	c := p.selected()
	switch {
	case c == nil:
		return nil
	case c.Run.ID == "":
		return flash(c.Name + " has not started")
	}
	return send(Push{NewDashboard(p.env, c.Run.Dir)})
}

func (p *Study) stoppable() bool { return p.env.Launcher != nil && p.Running() }

// Running reports whether a process executes the study.
func (p *Study) Running() bool { return p.entry.Phase == runs.Running }

// Press handles a key.
func (p *Study) Press(k tea.KeyPressMsg) (tea.Cmd, bool) { return studyKeys.Press(p, k.String()) }

// Call performs the named action.
func (p *Study) Call(name string) (tea.Cmd, bool) { return studyKeys.Call(p, name) }

func (p *Study) cursor() *components.List { return &p.list }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Study) FullHelp() []keymap.Entry  { return studyKeys.Entries(p) }
func (p *Study) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing returns false: the page has no input.
func (p *Study) Typing() bool { return false }

// Title returns the id of the study.
func (p *Study) Title() string { return p.id }

// Copy returns the folder of the study.
func (p *Study) Copy() string {
	if p.entry.Study == nil {
		return ""
	}
	return p.entry.Study.Dir()
}

// SetSize sets the size of the body.
func (p *Study) SetSize(w, h int) {
	p.w, p.h = w, h
	n := len(p.entry.Cells)
	_, inside := components.InnerSize(w, layout.NewStudy(w, h, n).Table.H)
	p.list.SetSize(n, inside-1)
}

// View draws the cells above the chart.
func (p *Study) View() string {
	t, e := p.env.Theme, p.entry
	if e.Study == nil {
		text := t.Dim.Render("reading the study")
		if p.read {
			text = t.Bad.Render(strings.Join(components.Wrap(e.Err.Error(), p.w-4), "\n"))
		}
		return components.Panel(t, "study", text, p.w, p.h)
	}
	l := layout.NewStudy(p.w, p.h, len(e.Cells))
	w, _ := components.InnerSize(l.Table.W, l.Table.H)
	title := fmt.Sprintf("%s, %d of %d cells", e.Phase, e.Done(), len(e.Cells))
	if e.Study.Options.Small {
		title += ", small variant"
	}
	if e.Err != nil {
		title += "; " + components.Brief(e.Err.Error(), "hatchery study status "+e.Study.ID)
	}
	view := components.Panel(t, title, strings.Join(p.rows(w), "\n"), l.Table.W, l.Table.H)
	if l.Chart.Empty() {
		return view
	}
	iw, ih := components.InnerSize(l.Chart.W, l.Chart.H)
	chart := components.Panel(t, e.Study.Definition.MeasureTitle()+" by "+e.Study.Definition.X, p.chart(iw, ih), l.Chart.W, l.Chart.H)
	if !l.Side.Empty() {
		iw, _ := components.InnerSize(l.Side.W, l.Side.H)
		d := e.Study.Definition
		lines := components.Wrap(t.Title.Render(d.Title), iw)
		lines = append(lines, components.Wrap(t.Dim.Render(d.Source), iw)...)
		for _, text := range e.Study.Options.Differences() {
			lines = append(lines, components.Wrap(text, iw)...)
		}
		lines = append(lines, remarks(t, d, iw)...)
		chart = components.JoinHorizontal(chart, components.Panel(t, "overview", strings.Join(lines, "\n"), l.Side.W, l.Side.H))
	}
	return view + "\n" + chart
}

// StudyCurves returns the curves of a study's chart that have points.
func StudyCurves(s *study.Study, results []study.Result) []charts.Series {
	var all []charts.Series
	for _, c := range s.Curves(results) {
		l := charts.Series{Name: c.Name, Level: c.Level}
		for _, p := range c.Points {
			l.Points = append(l.Points, charts.Point(p))
		}
		if len(l.Points) > 0 {
			all = append(all, l)
		}
	}
	return all
}

func (p *Study) chart(w, h int) string {
	t, s := p.env.Theme, p.entry.Study
	series := StudyCurves(s, p.entry.Results())
	if len(series) == 0 {
		return t.Dim.Render("no curve yet: no cell is done")
	}
	for i := range series {
		series[i].Style = t.Curve(i)
	}
	return charts.Render(series, charts.Options{Width: w, Height: h, XLabel: s.Definition.X, Focus: -1, ASCII: t.ASCII, Axis: t.Dim, Marker: t.Accent})
}

// rows returns the table of the visible cells.
func (p *Study) rows(w int) []string {
	t, e := p.env.Theme, p.entry
	d := e.Study.Definition
	gain := d.Measure == presets.MeasureGain
	reported := slices.ContainsFunc(e.Cells, func(c watch.StudyCell) bool { return c.Paper != nil })
	text := func(format string, x float64) string {
		if math.IsNaN(x) {
			return ""
		}
		return fmt.Sprintf(format, x)
	}
	from, to := p.list.Visible()
	var rows [][]string
	for _, c := range e.Cells[from:to] {
		top1 := text("%.2f", c.Values.Get(runs.Top1))
		if v, ok := c.Run.Top1(); ok && c.Values == nil {
			top1 = t.Dim.Render(quantity.Hundredths(v)) // the present stage's
		}
		paper, training := "", ""
		if c.Paper != nil {
			paper = fmt.Sprintf("%.1f", c.Paper.Value)
		}
		if s := c.Values.Get(pipeline.TrainSeconds); !math.IsNaN(s) {
			training = quantity.Duration(s)
		}
		row := []string{c.Series, cmp.Or(c.Label, "-"), p.state(c)}
		if gain {
			var each []string
			for _, g := range c.Gains {
				each = append(each, text("%+.2f", g))
			}
			row = append(row, text("%+.2f", e.Study.Y(c.Result)), strings.Join(each, " "), training)
		} else {
			row = append(row, text("%.2f", c.Values.Get(pipeline.Assembled)), top1)
			if reported {
				row = append(row, paper)
			}
			row = append(row, training, text("%.0f %%", c.Proportion()))
		}
		rows = append(rows, row)
	}
	columns := []components.Column{{Title: "series", MinWidth: 14}, {Title: "point"}, {Title: "state", MinWidth: 18}}
	if gain {
		columns = append(columns, components.Column{Title: "mean gain", Right: true}, components.Column{Title: "of each module", Drop: 2}, components.Column{Title: "training", Right: true, Drop: 1})
	} else {
		columns = append(columns, components.Column{Title: "assembled", Right: true, Drop: 2}, components.Column{Title: "top-1", Right: true})
		if reported {
			columns = append(columns, components.Column{Title: "paper", Right: true})
		}
		columns = append(columns, components.Column{Title: "training", Right: true, Drop: 1}, components.Column{Title: "modular", Right: true, Drop: 3})
	}
	return components.Table(t, columns, rows, p.list.Selected-from, w)
}

// state returns the state of a cell.
func (p *Study) state(c watch.StudyCell) string {
	t, live, position := p.env.Theme, c.Run.Live, position(c.Run)
	switch {
	case c.Run.ID == "":
		return t.Dim.Render(t.Waiting + " " + string(c.Phase))
	case live.Alive == runs.IsRunning && live.Status.Phase == runs.Running && position != "":
		return glyph(t, runs.Running) + " " + position
	}
	return liveText(p.env, live)
}
