package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/pages"
	"hatchery/tui/theme"
)

func width(s string) int { return ansi.StringWidth(s) }

// overlay draws a box over the lower part of a body of the same width.
func overlay(body, box string) string {
	lines, top := strings.Split(body, "\n"), strings.Split(box, "\n")
	from := max(0, len(lines)-len(top))
	copy(lines[from:], top)
	return strings.Join(lines, "\n")
}

// helpLines lists the keys of the page and of the app.
func (a *app) helpLines() []string {
	t := a.env.Theme
	var lines []string
	for _, s := range []keymap.Section{{Title: a.page().Title(), Entries: a.page().FullHelp()}, {Title: "everywhere", Entries: appKeys().Entries(a)}} {
		lines = append(lines, t.Title.Render(s.Title))
		for _, e := range s.Entries {
			text := e.Help
			if e.Danger {
				text += " (asks first)"
			}
			lines = append(lines, "  "+t.Key.Render(components.FitLine(e.KeyText(), 16))+components.FitLine(text, 34)+t.Dim.Render(e.Name))
		}
	}
	return lines
}

// helpKey scrolls the help or closes it.
func (a *app) helpKey(key string) {
	_, h := components.InnerSize(a.w, layout.NewFrame(a.w, a.h).Body.H)
	lines := len(a.helpLines())
	by, ok := keymap.Scroll(key, lines, h)
	a.help = ok
	a.helpTop = max(0, min(a.helpTop+by, lines-h))
}

func (a *app) helpView(w, h int) string {
	t := a.env.Theme
	lines := a.helpLines()
	iw, ih := components.InnerSize(w, h)
	for i, l := range lines {
		lines[i] = components.Cut(t, l, iw)
	}
	title := "help; any key closes it"
	if len(lines) > ih {
		title = "help; up and down scroll, any other key closes it"
	}
	top := max(0, min(a.helpTop, len(lines)-ih))
	return components.Panel(t, title, strings.Join(lines[top:], "\n"), w, h)
}

// palette is the list of actions, filtered by the words that the user types.
type palette struct {
	all   []keymap.Entry
	input *components.Input
	list  components.List

	height int // of the body
}

func newPalette(all []keymap.Entry, height int) *palette {
	p := &palette{all: all, input: components.NewInput("")}
	p.input.Start("")
	p.fit(height)
	return p
}

// fit sets the height of the body and the number of shown entries.
func (p *palette) fit(height int) {
	p.height = height
	_, inside := components.InnerSize(0, height)
	p.list.SetSize(len(p.shown()), inside-1) // one line is for the column titles
}

func (p *palette) shown() []keymap.Entry {
	var shown []keymap.Entry
	for _, e := range p.all {
		text := strings.ToLower(e.Name + " " + e.Help)
		ok := true
		for word := range strings.FieldsSeq(strings.ToLower(p.input.Text())) {
			ok = ok && strings.Contains(text, word)
		}
		if ok {
			shown = append(shown, e)
		}
	}
	return shown
}

// press handles a key. It returns the name of the chosen action, if any, and whether the
// palette closes.
func (p *palette) press(k tea.KeyPressMsg) (name string, done bool) {
	switch k.String() {
	case "esc":
		return "", true
	case "up":
		p.list.Move(-1)
	case "down":
		p.list.Move(1)
	case "enter":
		if shown := p.shown(); p.list.Selected < len(shown) {
			return shown[p.list.Selected].Name, true
		}
		return "", true
	default:
		p.input.Press(k)
		p.fit(p.height)
		p.list.MoveTo(0)
	}
	return "", false
}

func (p *palette) view(t *theme.Theme, w, h int) string {
	iw, _ := components.InnerSize(w, h)
	shown := p.shown()
	var rows [][]string
	from, to := p.list.Visible()
	for _, e := range shown[from:to] {
		rows = append(rows, []string{e.Name, e.Help, e.KeyText()})
	}
	lines := components.Table(t, []components.Column{{Title: "name"}, {Title: "action"}, {Title: "keys", Drop: 1}}, rows, p.list.Selected-from, iw)
	return components.Panel(t, ": "+p.input.View(t), strings.Join(lines, "\n"), w, h)
}

// Keys returns the documentation of all keys as Markdown.
func Keys() string {
	return keymap.Markdown(append([]keymap.Section{{Title: "Everywhere", Entries: appKeys().All()}}, pages.Sections()...))
}
