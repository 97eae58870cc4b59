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

// Runs is the list of runs.
type Runs struct {
	env      *Env
	w, h     int
	all      []watch.Entry
	shown    []watch.Entry
	queue    []string        // ids of runs that wait, the next first
	marked   map[string]bool // by id
	list     components.List
	filter   *components.Input
	sort     int
	err      error
	queueErr error // why the queue is not known
	read     bool  // the folder was read
	gone     bool  // there is no such folder
	ticks    int   // of the present Init; others have ended
}

// orders of the list.
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
	{Name: "queue.earlier", Keys: []string{"["}, Help: "earlier in the queue", When: (*Runs).queued, Do: func(p *Runs) tea.Cmd { return p.moveQueued(-1) }},
	{Name: "queue.later", Keys: []string{"]"}, Help: "later in the queue", When: (*Runs).queued, Do: func(p *Runs) tea.Cmd { return p.moveQueued(1) }},
	{Name: "run.log", Keys: []string{"L"}, Help: "log", Do: func(p *Runs) tea.Cmd {
		if e := p.selected(); e != nil {
			return send(Push{NewLog(p.env, runs.LogPath(e.Dir))})
		}
		return nil
	}},
	{Name: "run.filter", Keys: []string{"/"}, Help: "filter", Short: true, Do: func(p *Runs) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "run.sort", Keys: []string{"o"}, Help: "order", Short: true, Do: func(p *Runs) tea.Cmd { p.sort = (p.sort + 1) % len(orders); p.refilter(); return nil }},
}, listKeys[*Runs](nil)...)

// NewRuns is the page of all runs.
func NewRuns(env *Env) *Runs {
	return &Runs{env: env, marked: map[string]bool{}, filter: components.NewInput("filter")}
}

// rescanEvery is how often the folder is looked at.
const rescanEvery = 2 * time.Second

type rescanMsg struct {
	owner *Runs
	tick  int
}

// deleteMsg asks for a deletion that was said yes to, deletedMsg tells how it
// went.
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

// Init reads the folder, now and then again.
func (p *Runs) Init() tea.Cmd {
	p.ticks++
	return tea.Batch(scan(p.env), p.tick())
}

func (p *Runs) tick() tea.Cmd {
	n := p.ticks
	return tea.Tick(rescanEvery, func(time.Time) tea.Msg { return rescanMsg{p, n} })
}

// Close ends the looking.
func (p *Runs) Close() { p.ticks++ }

// Update takes what was read.
func (p *Runs) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case scanMsg:
		p.all, p.queue, p.err, p.queueErr, p.read = msg.entries, msg.queue, msg.err, msg.queueErr, true
		p.gone = msg.gone
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
	at := ""
	if e := p.selected(); e != nil {
		at = e.ID
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
	if i := slices.IndexFunc(p.shown, func(e watch.Entry) bool { return e.ID == at }); i >= 0 {
		p.list.To(i)
	}
}

func (p *Runs) selected() *watch.Entry {
	if p.list.At >= len(p.shown) {
		return nil
	}
	return &p.shown[p.list.At]
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
	slices.Reverse(dirs) // the oldest is what the others are compared with
	return send(Push{NewCompare(p.env, dirs)})
}

// queued says whether the selected run waits for the machine.
func (p *Runs) queued() bool {
	e := p.selected()
	return e != nil && slices.Contains(p.queue, e.ID)
}

func (p *Runs) moveQueued(by int) tea.Cmd {
	env, id := p.env, p.selected().ID
	again := scan(env)
	return func() tea.Msg {
		if err := env.Launcher.MoveQueued(env.Ctx, id, by); err != nil {
			return Flash{Text: err.Error(), Bad: true}
		}
		return again()
	}
}

func (p *Runs) delete() tea.Cmd {
	e := p.selected()
	if e == nil {
		return nil
	}
	if there(e.Live) {
		return fail(fmt.Errorf("%s is running: stop it first", e.ID))
	}
	if e.Live.Alive == "" {
		return fail(unknown(*e, e.Err))
	}
	entry := *e
	return send(Ask{Text: "Delete " + e.ID + " with all its checkpoints? This cannot be undone.", Yes: func() tea.Msg { return deleteMsg{p, entry} }})
}

// unknown is the error for deleting a run whose status cannot be read.
func unknown(e watch.Entry, err error) error {
	return fmt.Errorf("not deleted, because it is not known whether %s is running; if you are sure that it is not, delete the folder %s yourself: %w", e.ID, e.Dir, err)
}

// remove deletes a run's folder. The folder stops being a run at once, with a
// rename, so that no half of it is ever listed.
func (p *Runs) remove(e watch.Entry) tea.Cmd {
	env := p.env
	return func() tea.Msg {
		live, err := runs.ReadLiveness(e.Dir, env.Now())
		if err != nil {
			return deletedMsg{p, e.ID, unknown(e, err)}
		}
		if there(live) {
			return deletedMsg{p, e.ID, fmt.Errorf("%s is running: stop it first", e.ID)}
		}
		gone := runs.DeletedPath(e.Dir)
		if err := os.Rename(e.Dir, gone); err != nil {
			return deletedMsg{p, e.ID, err}
		}
		return deletedMsg{p, e.ID, os.RemoveAll(gone)}
	}
}

// Press does what a key does.
func (p *Runs) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.filter.Active() {
		p.filter.Press(k)
		p.refilter()
		return nil, true
	}
	return runsKeys.Press(p, k.String())
}

// Call does the action of a name.
func (p *Runs) Call(name string) (tea.Cmd, bool) { return runsKeys.Call(p, name) }

func (p *Runs) cursor() *components.List { return &p.list }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Runs) FullHelp() []keymap.Entry  { return runsKeys.Entries(p) }
func (p *Runs) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing says that a filter is being written.
func (p *Runs) Typing() bool { return p.filter.Active() }

// Title names the page.
func (p *Runs) Title() string { return "runs" }

// Copy is the folder of the selected run.
func (p *Runs) Copy() string {
	if e := p.selected(); e != nil {
		return e.Dir
	}
	return ""
}

// SetSize takes the size of the body.
func (p *Runs) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.Inside(w, h)
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
	w, _ := components.Inside(p.w, p.h)
	var body string
	switch {
	case p.err != nil:
		body = t.Bad.Render(strings.Join(components.Wrap(p.err.Error(), w), "\n"))
	case !p.read:
		body = t.Dim.Render("reading the folder")
	case p.gone:
		text := fmt.Sprintf("There is no folder %s: no run was started there yet, or it was moved or deleted. If it was moved, leave and type: hatchery tui --runs-dir=DIR", p.env.Root)
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
		state := liveWord(p.env, e.Live)
		if e.Err != nil { // whatever its status says, it cannot be used as it is
			state = t.Bad.Render(t.Failed + " broken")
		}
		if i := slices.Index(p.queue, e.ID); i >= 0 {
			state = t.Warn.Render(fmt.Sprintf("%s queued %d", t.Waiting, i+1))
		}
		rows = append(rows, []string{mark, e.ID, state, where(e), top1, started, setup})
	}
	columns := []components.Column{{}, {Title: "run", Least: 24}, {Title: "state"}, {Title: "stage", Drop: 1},
		{Title: "top-1", Right: true}, {Title: "started", Drop: 2}, {Title: "what", Drop: 3, Least: 10}}
	return components.Table(t, columns, rows, p.list.At-from, w)
}

// liveWord is a run's health with its sign.
func liveWord(env *Env, l runs.Liveness) string {
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
