package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/pages"
)

// A problem is an error message that does not fit into the line at the bottom of the
// screen. It is shown in a box over the page until it is closed.

// long reports whether the message does not fit into the line.
func (a *app) long() bool {
	return a.flash.Bad && (strings.Contains(a.flash.Text, "\n") || width(a.flash.Text) > a.w-2)
}

// printed reports whether a problem is printed again when the workbench is left.
// Messages of several lines often have commands to type, which can then be copied.
func printed(text string) bool { return strings.Contains(strings.TrimSpace(text), "\n") }

// problemLines returns the lines of the problem, and how many of them are visible.
func (a *app) problemLines(w, h int) (lines []string, room int) {
	inside, high := components.Inside(w, h)
	lines = components.Wrap(a.flash.Text, inside)
	return lines, min(len(lines), max(1, high-1)) // below them is a line that says what keys do
}

// problemKey scrolls, copies or closes the problem. Other keys do nothing, so that
// somebody who is typing does not close it unread.
func (a *app) problemKey(key string) tea.Cmd {
	body := layout.NewFrame(a.w, a.h).Body
	lines, room := a.problemLines(body.W, body.H)
	switch key {
	case "esc", "enter", "q":
		a.flash = pages.Flash{}
		return nil
	case "y":
		return tea.SetClipboard(a.flash.Text)
	}
	by, _ := keymap.Scroll(key, len(lines), room)
	a.top = max(0, min(a.top+by, len(lines)-room))
	return nil
}

// problemView draws the problem, and says which lines are visible if not all are.
func (a *app) problemView(w, h int) string {
	t := a.env.Theme
	lines, room := a.problemLines(w, h)
	top := max(0, min(a.top, len(lines)-room)) // the screen may be another since the last key
	keys := "esc closes it, y copies it"
	if printed(a.flash.Text) {
		keys += "; printed again when you leave"
	}
	title := "problem"
	if room < len(lines) {
		title = fmt.Sprintf("problem, lines %d to %d of %d; up and down scroll", top+1, top+room, len(lines))
	}
	inside, _ := components.Inside(w, h)
	shown := append(lines[top:top+room:top+room], t.Dim.Render(components.Cut(t, keys, inside)))
	return components.Panel(t, title, strings.Join(shown, "\n"), w, room+3)
}

// problemLine returns the first line of the problem, and the key that shows the rest
// if the box does not show it.
func (a *app) problemLine(w int) string {
	t := a.env.Theme
	body := layout.NewFrame(a.w, a.h).Body
	more := ""
	if lines, room := a.problemLines(body.W, body.H); a.top+room < len(lines) {
		more = " (more: press down)"
	}
	first, _, _ := strings.Cut(a.flash.Text, "\n")
	return components.Cut(t, t.Failed+" "+first, w-width(more)) + more
}
