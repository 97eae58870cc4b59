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
	"hatchery/tui/watch"
)

// Studies is the page that lists the studies that were started and those of the program.
type Studies struct {
	env      *Env
	w, h     int
	started  []watch.StudyEntry
	all      []*presets.Study
	shown    []studyItem
	list     components.List
	filter   *components.Input
	file     bool // show the file rather than the overview
	top      int  // first visible line of the details
	err      error
	read     bool // the folder was read
	starting bool // a study is being started
	ticks    int  // number of the present series of ticks; earlier ones are ignored
}

// studyItem is a line of the list: a study that was started, or one of the program.
type studyItem struct {
	started    *watch.StudyEntry // nil: a study of the program
	definition *presets.Study    // nil: it cannot be read
}

func (i studyItem) id() string {
	if i.started != nil {
		return i.started.ID
	}
	return i.definition.Name
}

var studiesKeys = append(keymap.Table[*Studies]{
	{Name: "study.open", Keys: []string{"enter"}, Help: "watch", Short: true, Do: (*Studies).open},
	{Name: "study.start", Keys: []string{"s"}, Help: "start", Short: true, Danger: true, When: func(p *Studies) bool { return p.startable(false) },
		Do: func(p *Studies) tea.Cmd { return p.ask(false) }},
	{Name: "study.startsmall", Keys: []string{"S"}, Help: "start small variant", Short: true, Danger: true, When: func(p *Studies) bool { return p.startable(true) },
		Do: func(p *Studies) tea.Cmd { return p.ask(true) }},
	{Name: "study.resume", Keys: []string{"r"}, Help: "resume", Short: true, When: func(p *Studies) bool {
		i := p.selected()
		return p.env.Launcher != nil && i != nil && i.started != nil && resumableStudy(*i.started)
	}, Do: func(p *Studies) tea.Cmd { return resumeStudy(p, p.env, p.selected().started.ID) }},
	{Name: "study.filter", Keys: []string{"/"}, Help: "filter", Short: true, Do: func(p *Studies) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "study.file", Keys: []string{"f"}, Help: "overview / file", Do: func(p *Studies) tea.Cmd { p.file, p.top = !p.file, 0; return nil }},
	{Name: "details.up", Keys: []string{"pgup"}, Help: "details up", Do: func(p *Studies) tea.Cmd { return p.scroll(-detailsPage) }},
	{Name: "details.down", Keys: []string{"pgdown"}, Help: "details down", Do: func(p *Studies) tea.Cmd { return p.scroll(detailsPage) }},
	{Name: "list.group", Keys: []string{"tab"}, Help: "started / all studies", Do: (*Studies).group},
}, listKeys((*Studies).showTop)...)

// NewStudies returns the page of all studies.
func NewStudies(env *Env) *Studies { return &Studies{env: env, filter: components.NewInput("filter")} }

type (
	// studiesMsg is the result of scan.
	studiesMsg struct {
		owner   *Studies
		all     []*presets.Study
		started []watch.StudyEntry
		err     error
	}
	// rescanStudiesMsg says that it is time to read the studies again.
	rescanStudiesMsg struct {
		owner *Studies
		tick  int
	}
	// startStudyMsg says that the user has confirmed a start.
	startStudyMsg struct {
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
	// studyReplyMsg is the result of a request to a study.
	studyReplyMsg struct {
		owner any
		text  string
		err   error
	}
)

// Init reads the studies, now and at regular intervals.
func (p *Studies) Init() tea.Cmd {
	p.ticks++
	return tea.Batch(p.scan(), p.tick())
}

func (p *Studies) scan() tea.Cmd {
	env := p.env
	return func() tea.Msg {
		m := studiesMsg{owner: p}
		if m.all, m.err = presets.Studies(); m.err == nil {
			m.started, m.err = env.Scanner.Studies(env.Ctx, env.Now())
		}
		return m
	}
}

func (p *Studies) tick() tea.Cmd {
	n := p.ticks
	return tea.Tick(rescanEvery, func(time.Time) tea.Msg { return rescanStudiesMsg{p, n} })
}

// Close stops reading the studies.
func (p *Studies) Close() { p.ticks++ }

// Update handles the results of commands.
func (p *Studies) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case studiesMsg:
		if msg.owner == p {
			p.all, p.started, p.err, p.read = msg.all, msg.started, msg.err, true
			p.refilter()
		}
	case rescanStudiesMsg:
		if msg.owner == p && msg.tick == p.ticks {
			return tea.Batch(p.scan(), p.tick())
		}
	case startStudyMsg:
		if msg.owner == p && !p.starting {
			return p.start(msg.definition, msg.small)
		}
	case studyStartedMsg:
		if msg.owner != p {
			return nil
		}
		p.starting = false
		switch {
		case msg.err != nil:
			return tea.Batch(fail(msg.err), p.scan())
		case msg.warning != "":
			return tea.Batch(send(Flash{Text: msg.warning, Bad: true}), send(Push{NewStudy(p.env, msg.id)}))
		}
		return tea.Batch(flash("started; it continues when you quit"), send(Push{NewStudy(p.env, msg.id)}))
	case studyReplyMsg:
		if msg.owner == p {
			return tea.Batch(showReply(msg), p.scan())
		}
	case tea.PasteMsg:
		p.filter.Paste(msg)
		p.refilter()
	}
	return nil
}

func showReply(m studyReplyMsg) tea.Cmd {
	if m.err != nil {
		return fail(m.err)
	}
	return flash(m.text)
}

func (p *Studies) refilter() {
	selected := ""
	if i := p.selected(); i != nil {
		selected = i.id()
	}
	p.shown = nil
	for i := range p.started {
		e := &p.started[i]
		item := studyItem{started: e}
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
	if i := slices.IndexFunc(p.shown, func(i studyItem) bool { return i.id() == selected }); i >= 0 {
		p.list.MoveTo(i)
	}
}

func (p *Studies) selected() *studyItem {
	if p.list.Selected >= len(p.shown) {
		return nil
	}
	return &p.shown[p.list.Selected]
}

// showTop scrolls the details to their first line.
func (p *Studies) showTop() { p.top = 0 }

// group moves the cursor to the first study of the other group.
func (p *Studies) group() tea.Cmd {
	first := slices.IndexFunc(p.shown, func(i studyItem) bool { return i.started == nil })
	if first < 0 || p.list.Selected >= first {
		first = 0
	}
	p.list.MoveTo(first)
	p.showTop()
	return nil
}

// scroll scrolls the details.
func (p *Studies) scroll(by int) tea.Cmd {
	s := layout.NewSplit(p.w, p.h, presetsSide)
	w, h := components.InnerSize(s.Side.W, s.Side.H)
	_, lines := p.side(w)
	p.top = max(0, min(p.top+by, len(lines)-h))
	return nil
}

func (p *Studies) open() tea.Cmd {
	i := p.selected()
	switch {
	case i == nil:
		return nil
	case i.started != nil && i.started.Study == nil:
		return fail(i.started.Err)
	case i.started != nil:
		return send(Push{NewStudy(p.env, i.started.ID)})
	}
	for _, e := range p.started { // open the latest one of this study
		if e.Study != nil && e.Study.Definition.Name == i.definition.Name {
			return send(Push{NewStudy(p.env, e.ID)})
		}
	}
	switch {
	case p.startable(true):
		return flash(i.id() + " was not started yet: press s, or S for the small variant")
	case p.startable(false):
		return flash(i.id() + " was not started yet: press s")
	}
	return flash(i.id() + " was not started yet: hatchery study " + i.id())
}

// startable reports whether the selected study, or its small variant, can be started.
func (p *Studies) startable(small bool) bool {
	i := p.selected()
	return p.env.Launcher != nil && i != nil && i.started == nil && (!small || i.definition.Small != nil)
}

func (p *Studies) ask(small bool) tea.Cmd {
	d := p.selected().definition
	grid, name := d.Grid, d.Name
	if small {
		grid, name = *d.Small, "the small variant of "+d.Name
	}
	text := fmt.Sprintf("Start %s: %d experiments from preset %s, one after another? It can be stopped and resumed.", name, len(grid.Cells(nil)), presetNames(grid))
	return send(Ask{Text: text, Yes: func() tea.Msg { return startStudyMsg{p, d, small} }})
}

// presetNames returns the names of the presets that a grid is based on.
func presetNames(g presets.Grid) string {
	var names []string
	for _, c := range g.Cells(nil) {
		if !slices.Contains(names, c.Preset) {
			names = append(names, c.Preset)
		}
	}
	return strings.Join(names, ", ")
}

func (p *Studies) start(d *presets.Study, small bool) tea.Cmd {
	p.starting = true
	env := p.env
	return tea.Batch(flash("starting: checking every experiment first"), func() tea.Msg {
		id, err := env.Launcher.StartStudy(env.Ctx, d, small)
		return studyStartedMsg{p, id, env.Launcher.Warning(), err}
	})
}

// resumableStudy reports whether cells are left and no process executes the study.
func resumableStudy(e watch.StudyEntry) bool {
	return e.Study != nil && e.Phase != runs.Running && e.Phase != runs.Finished
}

func resumeStudy(owner any, env *Env, id string) tea.Cmd {
	return tea.Batch(flash("resuming "+id), func() tea.Msg {
		err := env.Launcher.ResumeStudy(env.Ctx, id)
		return studyReplyMsg{owner, "resumed; it continues when you quit", err}
	})
}

// Press handles a key.
func (p *Studies) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.filter.Active() {
		p.filter.Press(k)
		p.refilter()
		return nil, true
	}
	return studiesKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Studies) Call(name string) (tea.Cmd, bool) { return studiesKeys.Call(p, name) }

func (p *Studies) cursor() *components.List { return &p.list }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Studies) FullHelp() []keymap.Entry  { return studiesKeys.Entries(p) }
func (p *Studies) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing reports whether the filter is being typed.
func (p *Studies) Typing() bool { return p.filter.Active() }

// Title returns the title of the page.
func (p *Studies) Title() string { return "studies" }

// Copy returns the folder of a study that was started, or the file of another.
func (p *Studies) Copy() string {
	i := p.selected()
	switch {
	case i == nil:
		return ""
	case i.started != nil && i.started.Study != nil:
		return i.started.Study.Dir()
	}
	return i.source()
}

// source returns the file of a study that is part of the program, or "" for others.
func (i studyItem) source() string {
	if i.definition == nil {
		return ""
	}
	source, err := presets.StudySource(i.definition.Name)
	if err != nil {
		return "" // the study was read from another file
	}
	return source
}

// SetSize sets the size of the body.
func (p *Studies) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.InnerSize(0, layout.NewSplit(w, h, presetsSide).Main.H)
	p.list.SetSize(len(p.shown), inside)
}
