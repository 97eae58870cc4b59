package pages

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// Studies is the list of studies: those that were begun, and those that there
// are.
type Studies struct {
	env     *Env
	w, h    int
	begun   []watch.StudyEntry
	all     []*presets.Study
	shown   []studyItem
	list    components.List
	filter  *components.Input
	file    bool // show the file rather than what it amounts to
	top     int  // first line of the details in view
	err     error
	read    bool // the folder was read
	waiting bool // a start is under way
	ticks   int  // of the present Init; others have ended
}

// studyItem is a line of the list: a study that was begun, or one that can be.
type studyItem struct {
	begun      *watch.StudyEntry // nil: it was not
	definition *presets.Study    // nil: it cannot be read
}

func (i studyItem) id() string {
	if i.begun != nil {
		return i.begun.ID
	}
	return i.definition.Name
}

var studiesKeys = keymap.Table[*Studies]{
	{Name: "study.open", Keys: []string{"enter"}, Help: "watch", Short: true, Do: (*Studies).open},
	{Name: "study.start", Keys: []string{"s"}, Help: "start", Short: true, Danger: true, When: func(p *Studies) bool { return p.startable(false) },
		Do: func(p *Studies) tea.Cmd { return p.ask(false) }},
	{Name: "study.startsmall", Keys: []string{"S"}, Help: "start it small", Short: true, Danger: true, When: func(p *Studies) bool { return p.startable(true) },
		Do: func(p *Studies) tea.Cmd { return p.ask(true) }},
	{Name: "study.resume", Keys: []string{"r"}, Help: "resume", Short: true, When: func(p *Studies) bool {
		i := p.selected()
		return p.env.Launcher != nil && i != nil && i.begun != nil && resumableStudy(*i.begun)
	}, Do: func(p *Studies) tea.Cmd { return resumeStudy(p, p.env, p.selected().begun.ID) }},
	{Name: "study.filter", Keys: []string{"/"}, Help: "filter", Short: true, Do: func(p *Studies) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "study.file", Keys: []string{"f"}, Help: "its file", Do: func(p *Studies) tea.Cmd { p.file, p.top = !p.file, 0; return nil }},
	{Name: "details.up", Keys: []string{"pgup"}, Help: "details up", Do: func(p *Studies) tea.Cmd { return p.scroll(-detailsPage) }},
	{Name: "details.down", Keys: []string{"pgdown"}, Help: "details down", Do: func(p *Studies) tea.Cmd { return p.scroll(detailsPage) }},
	{Name: "list.group", Keys: []string{"tab"}, Help: "begun / all studies", Do: (*Studies).group},
	{Name: "list.up", Keys: []string{"up", "k"}, Help: "up", Do: func(p *Studies) tea.Cmd { return p.to(p.list.At - 1) }},
	{Name: "list.down", Keys: []string{"down", "j"}, Help: "down", Do: func(p *Studies) tea.Cmd { return p.to(p.list.At + 1) }},
	{Name: "list.top", Keys: []string{"home", "g"}, Help: "first", Do: func(p *Studies) tea.Cmd { return p.to(0) }},
	{Name: "list.bottom", Keys: []string{"end", "G"}, Help: "last", Do: func(p *Studies) tea.Cmd { return p.to(len(p.shown)) }},
}

// NewStudies is the page of all studies.
func NewStudies(env *Env) *Studies { return &Studies{env: env, filter: components.NewInput("filter")} }

type (
	// studiesMsg brings the studies and those of the folder.
	studiesMsg struct {
		owner *Studies
		all   []*presets.Study
		begun []watch.StudyEntry
		err   error
	}
	restudyMsg struct {
		owner *Studies
		tick  int
	}
	// studyAskedMsg asks for a start that was said yes to.
	studyAskedMsg struct {
		owner      *Studies
		definition *presets.Study
		small      bool
	}
	studyStartedMsg struct {
		owner   *Studies
		id      string
		warning string
		err     error
	}
	// studyToldMsg says how a request to a study went.
	studyToldMsg struct {
		owner any
		said  string
		err   error
	}
)

// Init reads the studies, and the folder now and then again.
func (p *Studies) Init() tea.Cmd {
	p.ticks++
	return tea.Batch(p.scan(), p.tick())
}

func (p *Studies) scan() tea.Cmd {
	env := p.env
	return func() tea.Msg {
		m := studiesMsg{owner: p}
		if m.all, m.err = presets.Studies(); m.err == nil {
			m.begun, m.err = env.Scanner.Studies(env.Now())
		}
		return m
	}
}

func (p *Studies) tick() tea.Cmd {
	n := p.ticks
	return tea.Tick(rescanEvery, func(time.Time) tea.Msg { return restudyMsg{p, n} })
}

// Close ends the looking.
func (p *Studies) Close() { p.ticks++ }

// Update takes what was read and what became of a start.
func (p *Studies) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case studiesMsg:
		if msg.owner == p {
			p.all, p.begun, p.err, p.read = msg.all, msg.begun, msg.err, true
			p.refilter()
		}
	case restudyMsg:
		if msg.owner == p && msg.tick == p.ticks {
			return tea.Batch(p.scan(), p.tick())
		}
	case studyAskedMsg:
		if msg.owner == p && !p.waiting {
			return p.start(msg.definition, msg.small)
		}
	case studyStartedMsg:
		if msg.owner != p {
			return nil
		}
		p.waiting = false
		switch {
		case msg.err != nil:
			return tea.Batch(fail(msg.err), p.scan())
		case msg.warning != "":
			return tea.Batch(send(Flash{Text: msg.warning, Bad: true}), send(Push{NewStudy(p.env, msg.id)}))
		}
		return tea.Batch(flash("started; it runs on when this screen is closed"), send(Push{NewStudy(p.env, msg.id)}))
	case studyToldMsg:
		if msg.owner == p {
			return tea.Batch(told(msg), p.scan())
		}
	case tea.PasteMsg:
		p.filter.Paste(msg)
		p.refilter()
	}
	return nil
}

func told(m studyToldMsg) tea.Cmd {
	if m.err != nil {
		return fail(m.err)
	}
	return flash(m.said)
}

func (p *Studies) refilter() {
	at := ""
	if i := p.selected(); i != nil {
		at = i.id()
	}
	p.shown = nil
	for i := range p.begun {
		e := &p.begun[i]
		item := studyItem{begun: e}
		words := []string{e.ID, string(e.Phase)}
		if e.Study != nil {
			item.definition = e.Study.Definition
			words = append(words, item.definition.Title)
		}
		if matches(p.filter.Text(), words...) {
			p.shown = append(p.shown, item)
		}
	}
	for _, s := range p.all {
		if matches(p.filter.Text(), s.Name, s.Title, s.Source) {
			p.shown = append(p.shown, studyItem{definition: s})
		}
	}
	p.SetSize(p.w, p.h)
	// The cursor stays with its study.
	if i := slices.IndexFunc(p.shown, func(i studyItem) bool { return i.id() == at }); i >= 0 {
		p.list.To(i)
	}
}

func (p *Studies) selected() *studyItem {
	if p.list.At >= len(p.shown) {
		return nil
	}
	return &p.shown[p.list.At]
}

// to brings the cursor to a study.
func (p *Studies) to(i int) tea.Cmd {
	p.list.To(i)
	p.top = 0
	return nil
}

// group brings the cursor to the first study of the other group.
func (p *Studies) group() tea.Cmd {
	first := slices.IndexFunc(p.shown, func(i studyItem) bool { return i.begun == nil })
	if first < 0 || p.list.At >= first {
		first = 0
	}
	return p.to(first)
}

// scroll moves the details.
func (p *Studies) scroll(by int) tea.Cmd {
	s := layout.NewSplit(p.w, p.h, presetsSide)
	w, h := components.Inside(s.Side.W, s.Side.H)
	_, lines := p.side(w)
	p.top = max(0, min(p.top+by, len(lines)-h))
	return nil
}

func (p *Studies) open() tea.Cmd {
	i := p.selected()
	switch {
	case i == nil:
		return nil
	case i.begun != nil && i.begun.Study == nil:
		return fail(i.begun.Err)
	case i.begun != nil:
		return send(Push{NewStudy(p.env, i.begun.ID)})
	}
	for _, e := range p.begun { // the latest that was begun of it
		if e.Study != nil && e.Study.Definition.Name == i.definition.Name {
			return send(Push{NewStudy(p.env, e.ID)})
		}
	}
	switch {
	case p.startable(true):
		return flash(i.id() + " is to be started first: s as it is, S small")
	case p.startable(false):
		return flash(i.id() + " is to be started first: s")
	}
	return flash(i.id() + " is to be started first: hatchery study " + i.id())
}

// startable says whether the selected study, or its small variant, can be started.
func (p *Studies) startable(small bool) bool {
	i := p.selected()
	return p.env.Launcher != nil && i != nil && i.begun == nil && (!small || i.definition.Small != nil)
}

func (p *Studies) ask(small bool) tea.Cmd {
	d := p.selected().definition
	grid, what := d.Grid, d.Name
	if small {
		grid, what = *d.Small, "the small variant of "+d.Name
	}
	text := fmt.Sprintf("Start %s: %d experiments from preset %s, one after another? It can be stopped and resumed.", what, len(grid.Cells(nil)), basis(grid))
	return send(Ask{Text: text, Yes: func() tea.Msg { return studyAskedMsg{p, d, small} }})
}

// basis names the presets that the experiments of a grid start from.
func basis(g presets.Grid) string {
	var names []string
	for _, c := range g.Cells(nil) {
		if !slices.Contains(names, c.Preset) {
			names = append(names, c.Preset)
		}
	}
	return strings.Join(names, ", ")
}

func (p *Studies) start(d *presets.Study, small bool) tea.Cmd {
	p.waiting = true
	env := p.env
	return tea.Batch(flash("starting: every experiment is checked first"), func() tea.Msg {
		id, err := env.Launcher.StartStudy(env.Ctx, d, small)
		return studyStartedMsg{p, id, env.Launcher.Warning(), err}
	})
}

// resumableStudy says that there are cells left and no process.
func resumableStudy(e watch.StudyEntry) bool {
	return e.Study != nil && e.Phase != runs.Running && e.Phase != runs.Finished
}

func resumeStudy(owner any, env *Env, id string) tea.Cmd {
	return tea.Batch(flash("resuming "+id), func() tea.Msg {
		err := env.Launcher.ResumeStudy(env.Ctx, id)
		return studyToldMsg{owner, "resumed; it runs on when this screen is closed", err}
	})
}

// Press does what a key does.
func (p *Studies) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.filter.Active() {
		p.filter.Press(k)
		p.refilter()
		return nil, true
	}
	return studiesKeys.Press(p, k.String())
}

// Call does the action of a name.
func (p *Studies) Call(name string) (tea.Cmd, bool) { return studiesKeys.Call(p, name) }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Studies) FullHelp() []keymap.Entry  { return studiesKeys.Entries(p) }
func (p *Studies) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing says that a filter is being written.
func (p *Studies) Typing() bool { return p.filter.Active() }

// Title names the page.
func (p *Studies) Title() string { return "studies" }

// Copy is the folder of a study that was begun, or the file of one that was not.
func (p *Studies) Copy() string {
	i := p.selected()
	switch {
	case i == nil:
		return ""
	case i.begun != nil && i.begun.Study != nil:
		return i.begun.Study.Dir()
	}
	return i.source()
}

// source is the file of a study that is part of the program.
func (i studyItem) source() string {
	if i.definition == nil {
		return ""
	}
	source, err := presets.StudySource(i.definition.Name)
	if err != nil {
		return "" // it was read from a file elsewhere
	}
	return source
}

// SetSize takes the size of the body.
func (p *Studies) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.Inside(0, layout.NewSplit(w, h, presetsSide).Main.H)
	p.list.SetSize(len(p.shown), inside)
}

// View draws the list and what is known of the selected study.
func (p *Studies) View() string {
	t := p.env.Theme
	s := layout.NewSplit(p.w, p.h, presetsSide)
	w, h := components.Inside(s.Main.W, s.Main.H)
	title := "studies"
	if p.filter.Active() || p.filter.Text() != "" {
		title += "  " + p.filter.View(t)
	}
	var lines []string
	switch {
	case p.err != nil:
		lines = components.Wrap(t.Bad.Render(p.err.Error()), w)
	case !p.read:
		lines = []string{t.Dim.Render("reading the folder")}
	default:
		lines = p.lines(w, h)
	}
	view := components.Panel(t, title, strings.Join(lines, "\n"), s.Main.W, s.Main.H)
	if s.Side.Empty() {
		return view
	}
	iw, ih := components.Inside(s.Side.W, s.Side.H)
	title, lines = p.side(iw)
	top := max(0, min(p.top, len(lines)-ih))
	lines = lines[top:min(len(lines), top+ih)]
	side := components.Panel(t, title, strings.Join(lines, "\n"), s.Side.W, s.Side.H)
	if s.Side.Y > 0 {
		return view + "\n" + side
	}
	return components.Beside(view, side)
}

// lines draws both groups, each a table, so that the cursor is in view.
func (p *Studies) lines(w, h int) []string {
	t := p.env.Theme
	var begun, all [][]string
	for _, i := range p.shown {
		if e := i.begun; e != nil {
			state, done, started := t.Bad.Render("cannot be read"), "", ""
			if e.Study != nil {
				state = glyph(t, e.Phase) + " " + string(e.Phase)
				done = fmt.Sprintf("%d of %d", e.Done(), len(e.Cells))
				started = e.Study.Created.Local().Format("Jan 02 15:04")
			}
			begun = append(begun, []string{e.ID, state, done, started})
			continue
		}
		small := ""
		if i.definition.Small != nil {
			small = fmt.Sprint(len(i.definition.Small.Cells(nil)))
		}
		source, _, _ := strings.Cut(i.definition.Source, ",")
		all = append(all, []string{i.id(), source, fmt.Sprint(len(i.definition.Cells(nil))), small, i.definition.Title})
	}
	var lines []string
	at := 0
	if len(begun) > 0 {
		lines = components.Table(t, []components.Column{{Title: "begun", Least: 26}, {Title: "state"}, {Title: "cells", Right: true}, {Title: "started", Drop: 1}}, begun, p.list.At, w)
		at = 1 + p.list.At
	}
	if len(all) > 0 {
		if len(begun) > 0 {
			lines = append(lines, "")
		}
		if p.list.At >= len(begun) {
			at = len(lines) + 1 + p.list.At - len(begun)
		}
		columns := []components.Column{{Title: "study"}, {Title: "paper"}, {Title: "cells", Right: true}, {Title: "small", Right: true, Drop: 1}, {Title: "title", Least: 10, Drop: 2}}
		lines = append(lines, components.Table(t, columns, all, p.list.At-len(begun), w)...)
	}
	if len(lines) == 0 {
		return []string{t.Dim.Render("no study has all these words")}
	}
	return keepAt(lines, at, h)
}

// side is what is beside the list: what the selected study is, or its file.
func (p *Studies) side(w int) (title string, lines []string) {
	i := p.selected()
	if i == nil {
		return "what it is", nil
	}
	if !p.file {
		return "what it is", p.details(*i, w)
	}
	source := i.source()
	if source == "" {
		return "its file", []string{p.env.Theme.Dim.Render("is not part of this program")}
	}
	for _, l := range strings.Split(source, "\n") {
		lines = append(lines, components.Cut(p.env.Theme, strings.ReplaceAll(l, "\t", "  "), w))
	}
	return "its file", lines
}

func (p *Studies) details(i studyItem, w int) []string {
	t, d := p.env.Theme, i.definition
	if d == nil {
		return components.Wrap(t.Bad.Render(i.begun.Err.Error()), w)
	}
	lines := components.Wrap(t.Title.Render(d.Title), w)
	put := func(name, value string) {
		for n, l := range components.Wrap(value, w-9) {
			if n > 0 {
				name = ""
			}
			lines = append(lines, t.Dim.Render(fmt.Sprintf("%-9s", name))+l)
		}
	}
	put("paper", d.Source)
	put("measures", d.MeasureTitle()+", against "+d.X)
	if e := i.begun; e != nil {
		put("state", fmt.Sprintf("%s, %d of %d cells", e.Phase, e.Done(), len(e.Cells)))
		for _, text := range e.Study.Options.Differences() {
			put("here", text)
		}
		if e.Err != nil {
			put("problem", t.Bad.Render(e.Err.Error()))
		}
		for _, c := range e.Cells {
			if c.Phase == runs.Running {
				put("now", c.Name+" "+where(c.Run))
			}
		}
	} else {
		lines = append(lines, "", t.Title.Render("cells")+t.Dim.Render(", from "+basis(d.Grid)))
		lines = append(lines, p.series(d.Grid, d.Paper, w)...)
		if d.Small != nil {
			lines = append(lines, "", t.Title.Render("small variant")+t.Dim.Render(", from "+basis(*d.Small)))
			lines = append(lines, p.series(*d.Small, nil, w)...)
		}
	}
	return append(lines, inWords(t, d, w)...)
}

// series lists the cells of a grid, a series after another, with the paper's
// numbers.
func (p *Studies) series(g presets.Grid, paper []presets.StudyValue, w int) []string {
	t := p.env.Theme
	var lines []string
	name, text := "", ""
	flush := func() {
		for _, l := range components.Wrap(name+text, w-2) {
			lines = append(lines, "  "+l)
		}
	}
	for _, c := range g.Cells(nil) {
		sign := ", "
		if c.Series != name {
			if name != "" {
				flush()
			}
			name, text, sign = c.Series, "", ": "
		}
		if c.Label != "" {
			text += sign + c.Label
		}
		for _, v := range paper {
			if v.Series == c.Series && v.Point == c.Label {
				text += t.Dim.Render(fmt.Sprintf(" (%g)", v.Value))
			}
		}
	}
	flush()
	return lines
}

// inWords is what a study's file says in words.
func inWords(t *theme.Theme, d *presets.Study, w int) []string {
	var lines []string
	if len(d.Says) > 0 {
		lines = append(lines, "", t.Title.Render("the paper says"))
		for _, text := range d.Says {
			lines = append(lines, components.Wrap(text, w)...)
		}
	}
	if d.Notes != "" {
		lines = append(lines, "")
		for _, l := range components.Wrap(d.Notes, w) {
			lines = append(lines, t.Dim.Render(l))
		}
	}
	return lines
}

// where is the place of a run: its stage and epoch.
func where(e watch.Entry) string {
	text := e.Stage
	if e.Epoch > 0 && e.Stage != "" {
		text += fmt.Sprintf(" epoch %d", e.Epoch)
	}
	return text
}
