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

var studiesKeys = append(keymap.Table[*Studies]{
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
}, listKeys((*Studies).showTop)...)

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
			m.begun, m.err = env.Scanner.Studies(env.Ctx, env.Now())
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

// showTop scrolls the details of the selected line to their top.
func (p *Studies) showTop() { p.top = 0 }

// group brings the cursor to the first study of the other group.
func (p *Studies) group() tea.Cmd {
	first := slices.IndexFunc(p.shown, func(i studyItem) bool { return i.begun == nil })
	if first < 0 || p.list.At >= first {
		first = 0
	}
	p.list.To(first)
	p.showTop()
	return nil
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

func (p *Studies) cursor() *components.List { return &p.list }

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
