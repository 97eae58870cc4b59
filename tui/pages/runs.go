package pages

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/watch"
)

// Runs is the page that lists the runs.
type Runs struct {
	env      *Env
	w, h     int
	all      []watch.Entry
	shown    []watch.Entry
	queue    []string        // ids of the runs in the queue, the next one first
	marked   map[string]bool // by id
	list     components.List
	filter   *components.Input
	sort     int
	err      error
	queueErr error // why the queue is unknown
	read     bool  // the folder was read
	missing  bool  // the folder does not exist
	ticks    int   // number of the present series of ticks; earlier ones are ignored
}

// orders are the orders of the list.
var orders = []struct {
	name string
	cmp  func(a, b watch.Entry) int
}{
	{"latest", func(a, b watch.Entry) int { return b.Live.Status.Started.Compare(a.Live.Status.Started) }},
	{"name", func(a, b watch.Entry) int { return cmp.Compare(a.ID, b.ID) }},
	{"top-1", func(a, b watch.Entry) int {
		x, _ := a.Top1()
		y, _ := b.Top1()
		return cmp.Compare(y, x)
	}},
	{"state", func(a, b watch.Entry) int { return cmp.Compare(a.Live.String(), b.Live.String()) }},
}

var runsKeys = append(keymap.Table[*Runs]{
	{Name: "run.open", Keys: []string{"enter"}, Help: "watch", Short: true, Do: (*Runs).open},
	{Name: "run.mark", Keys: []string{"space"}, Help: "mark", Short: true, Do: (*Runs).mark},
	{Name: "run.compare", Keys: []string{"c"}, Help: "compare marked", Short: true, When: func(p *Runs) bool { return len(p.marked) > 0 }, Do: (*Runs).compare},
	{Name: "run.delete", Keys: []string{"D"}, Help: "delete", Danger: true, Do: (*Runs).delete},
	{Name: "queue.earlier", Keys: []string{"["}, Help: "move up in the queue", When: (*Runs).queued, Do: func(p *Runs) tea.Cmd { return p.moveQueued(-1) }},
	{Name: "queue.later", Keys: []string{"]"}, Help: "move down in the queue", When: (*Runs).queued, Do: func(p *Runs) tea.Cmd { return p.moveQueued(1) }},
	{Name: "run.log", Keys: []string{"L"}, Help: "log", Do: func(p *Runs) tea.Cmd {
		if e := p.selected(); e != nil {
			return send(Push{NewLog(p.env, runs.LogPath(e.Dir))})
		}
		return nil
	}},
	{Name: "run.filter", Keys: []string{"/"}, Help: "filter", Short: true, Do: func(p *Runs) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "run.sort", Keys: []string{"o"}, Help: "order", Short: true, Do: func(p *Runs) tea.Cmd { p.sort = (p.sort + 1) % len(orders); p.refilter(); return nil }},
}, listKeys[*Runs](nil)...)

// NewRuns returns the page of all runs.
func NewRuns(env *Env) *Runs {
	return &Runs{env: env, marked: map[string]bool{}, filter: components.NewInput("filter")}
}

// rescanEvery is the time between two scans of the folder.
const rescanEvery = 2 * time.Second

type rescanMsg struct {
	owner *Runs
	tick  int
}

// deleteMsg says that the user has confirmed a deletion; deletedMsg is its result.
type (
	deleteMsg struct {
		owner *Runs
		entry watch.Entry
	}
	deletedMsg struct {
		owner *Runs
		id    string
		err   error
	}
)

// Init reads the folder, now and at regular intervals.
func (p *Runs) Init() tea.Cmd {
	p.ticks++
	return tea.Batch(scan(p.env), p.tick())
}

func (p *Runs) tick() tea.Cmd {
	n := p.ticks
	return tea.Tick(rescanEvery, func(time.Time) tea.Msg { return rescanMsg{p, n} })
}

// Close stops reading the folder.
func (p *Runs) Close() { p.ticks++ }

// Update handles the results of commands.
func (p *Runs) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case scanMsg:
		p.all, p.queue, p.err, p.queueErr, p.read = msg.entries, msg.queue, msg.err, msg.queueErr, true
		p.missing = msg.missing
		p.refilter()
	case rescanMsg:
		if msg.owner == p && msg.tick == p.ticks {
			return tea.Batch(scan(p.env), p.tick())
		}
	case deleteMsg:
		if msg.owner == p {
			delete(p.marked, msg.entry.ID)
			return p.remove(msg.entry)
		}
	case deletedMsg:
		switch {
		case msg.owner != p:
		case msg.err != nil:
			return tea.Batch(fail(msg.err), scan(p.env))
		default:
			return tea.Batch(flash("deleted "+msg.id), scan(p.env))
		}
	case tea.PasteMsg:
		p.filter.Paste(msg)
		p.refilter()
	}
	return nil
}

func (p *Runs) refilter() {
	selected := ""
	if e := p.selected(); e != nil {
		selected = e.ID
	}
	p.shown = nil
	for _, e := range p.all {
		name, data := "", ""
		if e.Config != nil {
			name, data = e.Config.Name, e.Config.Data.Name
		}
		if matches(p.filter.Text(), e.ID, name, data, e.Live.String()) {
			p.shown = append(p.shown, e)
		}
	}
	slices.SortStableFunc(p.shown, orders[p.sort].cmp)
	p.SetSize(p.w, p.h)
	// The cursor stays with its run.
	if i := slices.IndexFunc(p.shown, func(e watch.Entry) bool { return e.ID == selected }); i >= 0 {
		p.list.MoveTo(i)
	}
}

func (p *Runs) selected() *watch.Entry {
	if p.list.Selected >= len(p.shown) {
		return nil
	}
	return &p.shown[p.list.Selected]
}

func (p *Runs) open() tea.Cmd {
	if e := p.selected(); e != nil {
		return send(Push{NewDashboard(p.env, e.Dir)})
	}
	return nil
}

func (p *Runs) mark() tea.Cmd {
	if e := p.selected(); e != nil {
		if p.marked[e.ID] {
			delete(p.marked, e.ID)
		} else {
			p.marked[e.ID] = true
		}
		p.list.Move(1)
	}
	return nil
}

func (p *Runs) compare() tea.Cmd {
	var dirs []string
	for _, e := range p.shown {
		if p.marked[e.ID] {
			dirs = append(dirs, e.Dir)
		}
	}
	if len(dirs) < 2 {
		return fail(fmt.Errorf("mark two runs or more with the space bar to compare them"))
	}
	slices.Reverse(dirs) // compare the others with the oldest one
	return send(Push{NewCompare(p.env, dirs)})
}

// queued reports whether the selected run is in the queue.
func (p *Runs) queued() bool {
	e := p.selected()
	return e != nil && slices.Contains(p.queue, e.ID)
}

func (p *Runs) moveQueued(by int) tea.Cmd {
	env, id := p.env, p.selected().ID
	rescan := scan(env)
	return func() tea.Msg {
		if err := env.Launcher.MoveQueued(env.Ctx, id, by); err != nil {
			return Flash{Text: err.Error(), Bad: true}
		}
		return rescan()
	}
}

func (p *Runs) delete() tea.Cmd {
	e := p.selected()
	if e == nil {
		return nil
	}
	if active(e.Live) {
		return fail(fmt.Errorf("%s is running: stop it first", e.ID))
	}
	if e.Live.Alive == "" {
		return fail(unknownState(*e, e.Err))
	}
	entry := *e
	return send(Ask{Text: "Delete " + e.ID + " with all its checkpoints? This cannot be undone.", Yes: func() tea.Msg { return deleteMsg{p, entry} }})
}

// unknownState returns the error for deleting a run whose status cannot be read.
func unknownState(e watch.Entry, err error) error {
	return fmt.Errorf("not deleted, because it is unknown whether %s is running; if you are sure that it is not, delete the folder %s yourself: %w", e.ID, e.Dir, err)
}

// remove deletes the folder of a run. It renames the folder first, so that a run is never
// listed while it is partly deleted.
func (p *Runs) remove(e watch.Entry) tea.Cmd {
	env := p.env
	return func() tea.Msg {
		live, err := runs.ReadLiveness(e.Dir, env.Now())
		if err != nil {
			return deletedMsg{p, e.ID, unknownState(e, err)}
		}
		if active(live) {
			return deletedMsg{p, e.ID, fmt.Errorf("%s is running: stop it first", e.ID)}
		}
		renamed := runs.DeletedPath(e.Dir)
		if err := os.Rename(e.Dir, renamed); err != nil {
			return deletedMsg{p, e.ID, err}
		}
		return deletedMsg{p, e.ID, os.RemoveAll(renamed)}
	}
}

// Press handles a key.
func (p *Runs) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.filter.Active() {
		p.filter.Press(k)
		p.refilter()
		return nil, true
	}
	return runsKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Runs) Call(name string) (tea.Cmd, bool) { return runsKeys.Call(p, name) }

func (p *Runs) cursor() *components.List { return &p.list }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Runs) FullHelp() []keymap.Entry  { return runsKeys.Entries(p) }
func (p *Runs) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing reports whether the filter is being typed.
func (p *Runs) Typing() bool { return p.filter.Active() }

// Title returns the title of the page.
func (p *Runs) Title() string { return "runs" }

// Copy returns the folder of the selected run.
func (p *Runs) Copy() string {
	if e := p.selected(); e != nil {
		return e.Dir
	}
	return ""
}

// SetSize sets the size of the body.
func (p *Runs) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.InnerSize(w, h)
	p.list.SetSize(len(p.shown), inside-1)
}

// View draws the list.
func (p *Runs) View() string {
	t := p.env.Theme
	title := fmt.Sprintf("runs %d of %d in %s, by %s", len(p.shown), len(p.all), p.env.Root, orders[p.sort].name)
	if p.filter.Active() || p.filter.Text() != "" {
		title += "  " + p.filter.View(t)
	}
	if p.queueErr != nil {
		title += "; " + components.Brief(p.queueErr.Error(), "hatchery queue")
	}
	w, _ := components.InnerSize(p.w, p.h)
	var body string
	switch {
	case p.err != nil:
		body = t.Bad.Render(strings.Join(components.Wrap(p.err.Error(), w), "\n"))
	case !p.read:
		body = t.Dim.Render("reading the folder")
	case p.missing:
		text := fmt.Sprintf("There is no folder %s: no run was started there yet, or the folder was moved or deleted. If it was moved, quit and type: hatchery tui --runs-dir=DIR", p.env.Root)
		body = t.Warn.Render(strings.Join(components.Wrap(text, w), "\n"))
	case len(p.all) == 0:
		body = t.Dim.Render("no runs yet: choose a preset and start one")
	default:
		body = strings.Join(p.rows(w), "\n")
	}
	return components.Panel(t, title, body, p.w, p.h)
}

func (p *Runs) rows(w int) []string {
	t := p.env.Theme
	from, to := p.list.Visible()
	var rows [][]string
	for _, e := range p.shown[from:to] {
		mark := " "
		if p.marked[e.ID] {
			mark = t.Changed.Render(t.Mark)
		}
		top1 := ""
		if v, ok := e.Top1(); ok {
			top1 = quantity.Hundredths(v)
		}
		setup := ""
		if c := e.Config; c != nil {
			setup = fmt.Sprintf("%s K=%d %s", c.Data.Name, c.Modules.K, c.Schedule)
		}
		if e.Err != nil {
			setup = t.Bad.Render(components.Brief(e.Err.Error(), "press enter"))
		}
		started := ""
		if s := e.Live.Status.Started; !s.IsZero() {
			started = s.Local().Format("Jan 02 15:04")
		}
		state := liveText(p.env, e.Live)
		if e.Err != nil { // it cannot be used, whatever its status says
			state = t.Bad.Render(t.Failed + " broken")
		}
		if i := slices.Index(p.queue, e.ID); i >= 0 {
			state = t.Warn.Render(fmt.Sprintf("%s queued %d", t.Waiting, i+1))
		}
		rows = append(rows, []string{mark, e.ID, state, position(e), top1, started, setup})
	}
	columns := []components.Column{{}, {Title: "run", MinWidth: 24}, {Title: "state"}, {Title: "stage", Drop: 1},
		{Title: "top-1", Right: true}, {Title: "started", Drop: 2}, {Title: "setup", Drop: 3, MinWidth: 10}}
	return components.Table(t, columns, rows, p.list.Selected-from, w)
}

// liveText returns the glyph and the text of a run's liveness.
func liveText(env *Env, l runs.Liveness) string {
	t := env.Theme
	switch l.Alive {
	case "":
		return ""
	case runs.IsCrashed:
		return t.Bad.Render(t.Failed + " " + l.String())
	case runs.IsStalled:
		return t.Warn.Render(t.Stopped + " " + l.String())
	}
	return glyph(t, l.Status.Phase) + " " + l.String()
}
