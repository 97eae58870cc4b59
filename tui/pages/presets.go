package pages

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/quantity"
	"hatchery/presets"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/watch"
)

// Presets is the page that lists the presets.
type Presets struct {
	env    *Env
	w, h   int
	all    []preset
	shown  []int // indices in all
	list   components.List
	filter *components.Input
	runs   []watch.Entry
	source bool // show the file rather than the overview
	top    int  // first visible line of the details
	err    error
}

// preset is a preset of the list.
type preset struct {
	presets.Info
	config *presets.Config
	group  string
}

var presetsKeys = append(keymap.Table[*Presets]{
	{Name: "preset.open", Keys: []string{"enter", "e"}, Help: "configure", Short: true, Do: (*Presets).open},
	{Name: "preset.filter", Keys: []string{"/"}, Help: "filter", Short: true, Do: func(p *Presets) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "preset.source", Keys: []string{"s"}, Help: "overview / file", Short: true, Do: func(p *Presets) tea.Cmd { p.source, p.top = !p.source, 0; return nil }},
	{Name: "details.up", Keys: []string{"pgup"}, Help: "details up", Do: func(p *Presets) tea.Cmd { return p.scroll(-detailsPage) }},
	{Name: "details.down", Keys: []string{"pgdown"}, Help: "details down", Do: func(p *Presets) tea.Cmd { return p.scroll(detailsPage) }},
}, listKeys((*Presets).showTop)...)

// detailsPage is the number of lines by which the details scroll.
const detailsPage = 8

// NewPresets returns the page of all presets.
func NewPresets(env *Env) *Presets { return &Presets{env: env, filter: components.NewInput("filter")} }

type presetsMsg struct {
	all []preset
	err error
}

// scanMsg is the result of scan: the runs of the folder.
type scanMsg struct {
	entries  []watch.Entry
	missing  bool // the folder does not exist
	err      error
	queue    []string // ids of the runs in the queue, the next one first
	queueErr error    // why the queue is unknown
}

func scan(env *Env) tea.Cmd {
	return func() tea.Msg {
		entries, err := env.Scanner.Scan(env.Ctx, env.Now())
		m := scanMsg{entries: entries, err: err}
		_, statErr := os.Stat(env.Root)
		m.missing = errors.Is(statErr, fs.ErrNotExist)
		if err == nil && env.Launcher != nil {
			m.queue, m.queueErr = env.Launcher.Queued(env.Ctx)
		}
		return m
	}
}

// Init reads the presets and the runs.
func (p *Presets) Init() tea.Cmd {
	return tea.Batch(func() tea.Msg {
		infos, err := presets.List()
		if err != nil {
			return presetsMsg{err: err}
		}
		var all []preset
		for _, i := range infos {
			if i.Abstract || i.Record {
				continue
			}
			c, err := presets.Load(i.Name, nil)
			if err != nil {
				return presetsMsg{err: err}
			}
			group, _, _ := strings.Cut(i.Source, ",")
			all = append(all, preset{i, c, cmp.Or(group, "Small: minutes on a CPU or a GPU")})
		}
		// Presets that run without further data come first.
		rank := func(p preset) int {
			switch {
			case p.Name == "quickstart":
				return 0
			case p.Source == "":
				return 1
			}
			return 2
		}
		slices.SortStableFunc(all, func(a, b preset) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.group, b.group), cmp.Compare(a.Name, b.Name))
		})
		return presetsMsg{all: all}
	}, scan(p.env))
}

// Update handles the results of Init.
func (p *Presets) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case presetsMsg:
		p.all, p.err = msg.all, msg.err
		p.refilter()
	case scanMsg:
		p.runs = msg.entries
	case tea.PasteMsg:
		p.filter.Paste(msg)
		p.refilter()
	}
	return nil
}

func (p *Presets) refilter() {
	p.shown = p.shown[:0]
	for i, e := range p.all {
		if matches(p.filter.Text(), e.Name, e.Title, e.group, e.config.Data.Name) {
			p.shown = append(p.shown, i)
		}
	}
	p.SetSize(p.w, p.h)
}

// matches reports whether each word of a filter is in one of the texts.
func matches(filter string, texts ...string) bool {
	all := strings.ToLower(strings.Join(texts, "\n"))
	for word := range strings.FieldsSeq(strings.ToLower(filter)) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}

func (p *Presets) selected() *preset {
	if p.list.Selected < 0 || p.list.Selected >= len(p.shown) {
		return nil
	}
	return &p.all[p.shown[p.list.Selected]]
}

// showTop scrolls the details to their first line.
func (p *Presets) showTop() { p.top = 0 }

// scroll scrolls the details.
func (p *Presets) scroll(by int) tea.Cmd {
	s := layout.NewSplit(p.w, p.h, presetsSide)
	w, h := components.InnerSize(s.Side.W, s.Side.H)
	_, lines := p.side(w)
	p.top = max(0, min(p.top+by, len(lines)-h))
	return nil
}

func (p *Presets) open() tea.Cmd {
	e := p.selected()
	if e == nil {
		return nil
	}
	return send(Push{NewEditor(p.env, e.Name)})
}

// Press handles a key.
func (p *Presets) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.filter.Active() {
		p.filter.Press(k)
		p.refilter()
		return nil, true
	}
	return presetsKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Presets) Call(name string) (tea.Cmd, bool) { return presetsKeys.Call(p, name) }

func (p *Presets) cursor() *components.List { return &p.list }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Presets) FullHelp() []keymap.Entry  { return presetsKeys.Entries(p) }
func (p *Presets) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing reports whether the filter is being typed.
func (p *Presets) Typing() bool { return p.filter.Active() }

// Title returns the title of the page.
func (p *Presets) Title() string { return "presets" }

// Close does nothing: the page does not follow anything.
func (p *Presets) Close() {}

// Copy returns the file of the selected preset.
func (p *Presets) Copy() string {
	if e := p.selected(); e != nil {
		if src, err := presets.Source(e.Name); err == nil {
			return src
		}
	}
	return ""
}

const presetsSide = 52

// SetSize sets the size of the body.
func (p *Presets) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.InnerSize(0, layout.NewSplit(w, h, presetsSide).Main.H)
	p.list.SetSize(len(p.shown), max(1, inside-2)) // the titles of groups take lines too
}

// View draws the list and the details of the selected preset.
func (p *Presets) View() string {
	t := p.env.Theme
	s := layout.NewSplit(p.w, p.h, presetsSide)
	if p.err != nil {
		return components.Panel(t, "presets", t.Bad.Render(strings.Join(components.Wrap(p.err.Error(), p.w-4), "\n")), p.w, p.h)
	}
	w, _ := components.InnerSize(s.Main.W, s.Main.H)
	var lines []string
	group := ""
	from, to := p.list.Visible()
	for i := from; i < to; i++ {
		e := p.all[p.shown[i]]
		if e.group != group {
			group = e.group
			lines = append(lines, t.Dim.Render(components.Cut(t, group, w)))
		}
		text := fmt.Sprintf("%-22s %s", components.Cut(t, e.Name, 22), e.Title)
		if i == p.list.Selected {
			lines = append(lines, t.Selected.Render(components.FitLine(t.Cursor+" "+components.Cut(t, text, w-2), w)))
		} else {
			lines = append(lines, "  "+components.Cut(t, text, w-2))
		}
	}
	// Keep the cursor visible if group titles push it down.
	if _, h := components.InnerSize(s.Main.W, s.Main.H); len(lines) > h {
		lines = window(lines, p.cursorLine(from), h)
	}
	head := fmt.Sprintf("presets %d of %d", len(p.shown), len(p.all))
	if p.filter.Active() || p.filter.Text() != "" {
		head += "  " + p.filter.View(t)
	}
	view := components.Panel(t, head, strings.Join(lines, "\n"), s.Main.W, s.Main.H)
	if s.Side.Empty() {
		return view
	}
	iw, ih := components.InnerSize(s.Side.W, s.Side.H)
	title, lines := p.side(iw)
	top := max(0, min(p.top, len(lines)-ih))
	lines = lines[top:min(len(lines), top+ih)]
	side := components.Panel(t, title, strings.Join(lines, "\n"), s.Side.W, s.Side.H)
	if s.Side.Y > 0 {
		return view + "\n" + side
	}
	return components.JoinHorizontal(view, side)
}

// cursorLine returns the line of the cursor, including group titles, if the list begins at
// item from.
func (p *Presets) cursorLine(from int) int {
	n, group := 0, ""
	for i := from; i <= p.list.Selected && i < len(p.shown); i++ {
		if g := p.all[p.shown[i]].group; g != group {
			group = g
			n++
		}
		n++
	}
	return n - 1
}

// window returns h of the lines, line i among them.
func window(lines []string, i, h int) []string {
	top := max(0, min(i-h+1, len(lines)-h))
	return lines[top:min(len(lines), top+h)]
}

// side returns the text next to the list: an overview of the selected preset, or its file.
func (p *Presets) side(w int) (title string, lines []string) {
	if !p.source {
		return "overview", p.details(w)
	}
	for l := range strings.SplitSeq(p.Copy(), "\n") {
		lines = append(lines, components.Cut(p.env.Theme, strings.ReplaceAll(l, "\t", "  "), w))
	}
	return "file", lines
}

func (p *Presets) details(w int) []string {
	e := p.selected()
	if e == nil {
		return []string{p.env.Theme.Dim.Render("no preset matches the filter")}
	}
	t, c := p.env.Theme, e.config
	var lines []string
	put := func(name, value string) {
		lines = append(lines, components.FitLine(t.Dim.Render(fmt.Sprintf("%-9s", name))+components.Cut(t, value, w-9), w))
	}
	lines = append(lines, components.Wrap(t.Title.Render(c.Title), w)...)
	m := c.Model
	put("model", fmt.Sprintf("ViT, %d blocks, width %d, %d heads", m.Depth, m.Width, m.Heads))
	put("input", fmt.Sprintf("%d px, patch %d, %d classes", m.Image, m.Patch, m.Classes))
	put("modules", fmt.Sprintf("K = %d, meta depth %d", c.Modules.K, c.Modules.MetaDepth))
	put("schedule", fmt.Sprintf("%d meta, %d+%d, e2e %d epochs", c.Meta.Epochs, c.Modular.Epochs, c.Finetune.Epochs, c.E2E.Epochs))
	put("data", c.Data.Name)
	put("methods", strings.Join(c.Run.Methods, ", "))
	for _, r := range p.runs {
		if r.Config != nil && r.Config.Name == e.Name {
			text := r.Live.String()
			if v, ok := r.Top1(); ok {
				text += ", top-1 " + quantity.Accuracy(v)
			}
			put("here", text+", "+r.ID)
			break
		}
	}
	if len(c.Paper) > 0 {
		lines = append(lines, "", t.Title.Render("paper"))
		for _, r := range c.Paper {
			lines = append(lines, components.FitLine(fmt.Sprintf("%-14s %-10s %8g  %s", cmp.Or(r.Method, "model"), r.Metric, r.Value, t.Dim.Render(r.Source)), w))
		}
	}
	if c.Notes != "" {
		lines = append(lines, "")
		for _, l := range components.Wrap(c.Notes, w) {
			lines = append(lines, t.Dim.Render(l))
		}
	}
	return lines
}
