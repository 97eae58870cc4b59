// Package tui is the workbench: a terminal UI that starts, watches and compares runs. It
// reads everything about a run from the run's folder. Runs are separate processes, so
// they continue when the workbench is left.
package tui

import (
	"path/filepath"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/printable"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/pages"
	"hatchery/tui/theme"
)

// app is the Bubble Tea model: a stack of pages, and what all pages share.
type app struct {
	env          *pages.Env
	themeOptions theme.Options
	fixed        bool // the theme does not follow the terminal's background

	w, h     int
	stack    []pages.Page
	help     bool
	helpTop  int
	palette  *palette
	ask      *pages.Ask
	flash    pages.Flash
	flashes  int    // number of flashes so far; identifies the one that expires
	top      int    // first visible line of a problem
	problem  string // the last problem of several lines; printed on exit
	farewell string // printed on exit
}

// appKeys returns the keys that work on every page.
func appKeys() keymap.Table[*app] {
	return keymap.Table[*app]{
		{Name: "help", Keys: []string{"?"}, Help: "help", Short: true, Do: func(a *app) tea.Cmd { a.help, a.helpTop = true, 0; return nil }},
		{Name: "palette", Keys: []string{":"}, Help: "commands", Short: true, Do: func(a *app) tea.Cmd {
			a.palette = newPalette(a.entries(), layout.NewFrame(a.w, a.h).Body.H)
			return nil
		}},
		{Name: "back", Keys: []string{"esc"}, Help: "back", Short: true, When: func(a *app) bool { return len(a.stack) > 1 }, Do: (*app).back},
		{Name: "presets", Keys: []string{"1"}, Help: "presets", Do: func(a *app) tea.Cmd { return a.open(pages.NewPresets(a.env)) }},
		{Name: "runs", Keys: []string{"2"}, Help: "runs", Short: true, Do: func(a *app) tea.Cmd { return a.open(pages.NewRuns(a.env)) }},
		{Name: "studies", Keys: []string{"3"}, Help: "studies", Do: func(a *app) tea.Cmd { return a.open(pages.NewStudies(a.env)) }},
		{Name: "copy", Keys: []string{"y"}, Help: "copy to the clipboard", Do: (*app).copy},
		{Name: "redraw", Keys: []string{"ctrl+l"}, Help: "redraw", Do: func(a *app) tea.Cmd { return func() tea.Msg { return tea.ClearScreen() } }},
		{Name: "quit", Keys: []string{"q", "ctrl+c"}, Help: "quit; runs continue", Short: true, Do: (*app).quit},
	}
}

// flashFor is how long a message that is not an error stays on the screen.
const flashFor = 6 * time.Second

type flashExpired struct{ n int }

// Init starts the first pages.
func (a *app) Init() tea.Cmd {
	var all []tea.Cmd
	for _, p := range a.stack {
		all = append(all, p.Init())
	}
	if !a.fixed {
		all = append(all, tea.RequestBackgroundColor)
	}
	return tea.Batch(all...)
}

func (a *app) page() pages.Page { return a.stack[len(a.stack)-1] }

// Update handles a message. Keys go to the topmost element, other messages to all pages,
// each of which ignores those of other pages.
func (a *app) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		a.w, a.h = msg.Width, msg.Height
		a.resize()
		return a, nil
	case tea.BackgroundColorMsg:
		if !a.fixed {
			a.themeOptions.Light = !msg.IsDark()
			a.env.Theme = theme.New(a.themeOptions)
		}
		return a, nil
	case tea.KeyPressMsg:
		return a, a.press(msg)
	case pages.Push:
		a.stack = append(a.stack, msg.Page)
		a.resize()
		return a, msg.Page.Init()
	case pages.Back:
		return a, a.back()
	case pages.Ask:
		a.ask = &msg
		return a, nil
	case pages.Flash:
		a.flash, a.top = msg, 0
		if msg.Bad && printedOnExit(msg.Text) {
			a.problem = msg.Text
		}
		a.flashes++
		n := a.flashes
		return a, tea.Tick(flashFor, func(time.Time) tea.Msg { return flashExpired{n} })
	case flashExpired:
		if msg.n == a.flashes && !a.flash.Bad { // errors stay until a key is pressed
			a.flash = pages.Flash{}
		}
		return a, nil
	}
	var all []tea.Cmd
	for _, p := range a.stack {
		all = append(all, p.Update(msg))
	}
	return a, tea.Batch(all...)
}

func (a *app) resize() {
	body := layout.NewFrame(a.w, a.h).Body
	if a.palette != nil {
		a.palette.fit(body.H)
	}
	for _, p := range a.stack {
		p.SetSize(body.W, body.H)
	}
}

// press passes a key to the topmost element: question, palette, help or page.
func (a *app) press(k tea.KeyPressMsg) tea.Cmd {
	if k.String() == "ctrl+c" {
		return a.quit()
	}
	if layout.TooSmall(a.w, a.h) != "" {
		return nil // the user could not see the effect
	}
	if a.showsProblem() {
		return a.problemKey(k.String())
	}
	if a.flash.Bad {
		a.flash = pages.Flash{}
	}
	switch {
	case a.ask != nil:
		switch k.String() {
		case "y", "Y":
			yes := a.ask.Yes
			a.ask = nil
			return yes
		case "n", "N", "esc", "q":
			a.ask = nil
		}
		return nil
	case a.palette != nil:
		name, done := a.palette.press(k)
		if done {
			a.palette = nil
		}
		if name == "" {
			return nil
		}
		return a.call(name)
	case a.help:
		a.helpKey(k.String())
		return nil
	}
	if cmd, ok := a.page().Press(k); ok {
		return cmd
	}
	if a.page().Typing() {
		return nil
	}
	cmd, _ := appKeys().Press(a, k.String())
	return cmd
}

// call performs the named action of the page or of the app.
func (a *app) call(name string) tea.Cmd {
	if cmd, ok := a.page().Call(name); ok {
		return cmd
	}
	cmd, _ := appKeys().Call(a, name)
	return cmd
}

// entries returns the actions of the page and of the app.
func (a *app) entries() []keymap.Entry {
	return append(a.page().FullHelp(), appKeys().Entries(a)...)
}

func (a *app) back() tea.Cmd {
	if len(a.stack) > 1 {
		a.page().Close()
		a.stack = a.stack[:len(a.stack)-1]
		a.resize()
	}
	return nil
}

// open replaces all pages by p.
func (a *app) open(p pages.Page) tea.Cmd {
	for _, old := range a.stack {
		old.Close()
	}
	a.stack = []pages.Page{p}
	a.resize()
	return p.Init()
}

func (a *app) copy() tea.Cmd {
	text := a.page().Copy()
	if text == "" {
		return nil
	}
	message := "copied " + text
	if strings.Contains(text, "\n") {
		message = "copied the text"
	}
	return tea.Batch(tea.SetClipboard(text), func() tea.Msg { return pages.Flash{Text: message} })
}

func (a *app) quit() tea.Cmd {
	for _, p := range a.stack {
		if d, ok := p.(*pages.Dashboard); ok && d.Active() {
			a.farewell = "run " + filepath.Base(d.Title()) + " continues; to see it again: hatchery tui " + d.Title()
		}
		if s, ok := p.(*pages.Study); ok && s.Running() {
			a.farewell = "study " + s.Title() + " continues; to see it again: hatchery study status " + s.Title()
		}
		p.Close()
	}
	return tea.Quit
}

// View draws the screen.
func (a *app) View() tea.View {
	v := tea.NewView(a.screen())
	v.AltScreen = true
	v.WindowTitle = "hatchery " + printable.Line(a.page().Title())
	return v
}

// screen returns the text of the screen, padded to exactly its size.
func (a *app) screen() string {
	if a.w == 0 || a.h == 0 {
		return "" // the size is not known yet
	}
	t := a.env.Theme
	if need := layout.TooSmall(a.w, a.h); need != "" {
		lines := components.Wrap(need, a.w)
		lines = append(lines, components.Wrap("keys are ignored; ctrl+c quits", a.w)...)
		return components.Fit(strings.Join(lines, "\n"), a.w, a.h)
	}
	f := layout.NewFrame(a.w, a.h)
	body := a.page().View()
	switch {
	case a.palette != nil:
		body = a.palette.view(t, f.Body.W, f.Body.H)
	case a.help:
		body = a.helpView(f.Body.W, f.Body.H)
	}
	body = components.Fit(body, f.Body.W, f.Body.H)
	switch {
	case a.ask != nil:
		body = overlay(body, a.question(f.Body.W))
	case a.showsProblem():
		body = overlay(body, a.problemView(f.Body.W, f.Body.H))
	}
	return components.FitLine(a.header(f.Header.W), f.Header.W) + "\n" + body + "\n" + components.FitLine(a.footer(f.Footer.W), f.Footer.W)
}

func (a *app) header(w int) string {
	t := a.env.Theme
	var titles []string
	for _, p := range a.stack {
		titles = append(titles, p.Title())
	}
	path := titles[len(titles)-1]
	if full := strings.Join(titles, " "+t.Arrow+" "); len([]rune(full)) < w-35 {
		path = full
	}
	left := t.Accent.Bold(true).Render("hatchery") + "  " + t.Title.Render(components.Cut(t, path, w-14))
	return components.Spread(left, t.Dim.Render("1 presets  2 runs  3 studies"), w)
}

func (a *app) footer(w int) string {
	t := a.env.Theme
	if a.flash.Text != "" {
		if a.showsProblem() {
			return t.Bad.Render(a.problemLine(w))
		}
		if a.flash.Bad {
			return t.Bad.Render(components.Cut(t, t.Failed+" "+a.flash.Text, w))
		}
		return t.Good.Render(components.Cut(t, a.flash.Text, w))
	}
	if a.page().Typing() {
		return t.Key.Render("enter") + " " + t.Dim.Render("accept") + "  " + t.Key.Render("esc") + " " + t.Dim.Render("cancel")
	}
	// The page's keys come first, then those of the app. Keys that do not fit are left out.
	line := ""
	for _, e := range append(a.page().ShortHelp(), keymap.Short(appKeys().Entries(a))...) {
		item := t.Key.Render(e.Keys[0]) + " " + t.Dim.Render(e.Help)
		if next := line + "  " + item; line == "" {
			line = item
		} else if width(next) <= w {
			line = next
		}
	}
	return line
}

func (a *app) question(w int) string {
	t := a.env.Theme
	text := strings.Join(components.Wrap(a.ask.Text, w-4), "\n") + "\n" + t.Key.Render("y") + " yes   " + t.Key.Render("n") + " no"
	return components.Panel(t, "confirm", text, w, strings.Count(text, "\n")+3)
}
