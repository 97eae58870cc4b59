package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/pages"
	"hatchery/tui/theme"
)

func width(s string) int { return ansi.StringWidth(s) }

// over lays a box over the lower part of a body of the same width.
func over(body, box string) string {
	lines, top := strings.Split(body, "\n"), strings.Split(box, "\n")
	from := max(0, len(lines)-len(top))
	copy(lines[from:], top)
	return strings.Join(lines, "\n")
}

// helpView lists the keys of the page and of the app.
func (a *app) helpView(w, h int) string {
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
	iw, ih := components.Inside(w, h)
	for i, l := range lines {
		lines[i] = components.Cut(t, l, iw)
	}
	top := min(a.helpTop, max(0, len(lines)-ih))
	a.helpTop = top
	title := "help; any key closes it"
	if len(lines) > ih {
		title = "help; up and down scroll, any other key closes it"
	}
	return components.Panel(t, title, strings.Join(lines[top:], "\n"), w, h)
}

// palette finds an action by its name.
type palette struct {
	all   []keymap.Entry
	input *components.Input
	list  components.List
}

func newPalette(all []keymap.Entry) *palette {
	p := &palette{all: all, input: components.NewInput("")}
	p.input.Start("")
	return p
}

func (p *palette) shown() []keymap.Entry {
	var shown []keymap.Entry
	for _, e := range p.all {
		text := strings.ToLower(e.Name + " " + e.Help)
		ok := true
		for _, word := range strings.Fields(strings.ToLower(p.input.Text())) {
			ok = ok && strings.Contains(text, word)
		}
		if ok {
			shown = append(shown, e)
		}
	}
	return shown
}

// press returns the name of the chosen action, and whether the palette closes.
func (p *palette) press(k tea.KeyPressMsg) (name string, done bool) {
	switch k.String() {
	case "esc":
		return "", true
	case "up":
		p.list.Move(-1)
	case "down":
		p.list.Move(1)
	case "enter":
		if shown := p.shown(); p.list.At < len(shown) {
			return shown[p.list.At].Name, true
		}
		return "", true
	default:
		p.input.Press(k)
		p.list.To(0)
	}
	return "", false
}

func (p *palette) view(t *theme.Theme, w, h int) string {
	iw, ih := components.Inside(w, h)
	shown := p.shown()
	p.list.SetSize(len(shown), ih-1)
	var rows [][]string
	from, to := p.list.Visible()
	for _, e := range shown[from:to] {
		rows = append(rows, []string{e.Name, e.Help, e.KeyText()})
	}
	lines := components.Table(t, []components.Column{{Title: "command"}, {Title: "what it does"}, {Title: "keys", Drop: 1}}, rows, p.list.At-from, iw)
	return components.Panel(t, ": "+p.input.View(t), strings.Join(lines, "\n"), w, h)
}

// Keys documents all keys as Markdown.
func Keys() string {
	return keymap.Markdown(append([]keymap.Section{{Title: "Everywhere", Entries: appKeys().All()}}, pages.Sections()...))
}
