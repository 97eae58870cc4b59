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

// showsProblem reports whether the present message is a problem: an error that does not
// fit into the line.
func (a *app) showsProblem() bool {
	return a.flash.Bad && (strings.Contains(a.flash.Text, "\n") || width(a.flash.Text) > a.w-2)
}

// printedOnExit reports whether a problem is printed again when the user quits. Messages
// of several lines often contain commands to type, which can then be copied.
func printedOnExit(text string) bool { return strings.Contains(strings.TrimSpace(text), "\n") }

// problemLines returns the lines of the problem and the number of visible ones.
func (a *app) problemLines(w, h int) (lines []string, room int) {
	inside, high := components.InnerSize(w, h)
	lines = components.Wrap(a.flash.Text, inside)
	return lines, min(len(lines), max(1, high-1)) // one more line describes the keys
}

// problemKey scrolls, copies or closes the problem. Other keys do nothing, so that a
// user who is typing does not close it unread.
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

// problemView draws the problem. If it is longer than the box, the title says which lines
// are visible.
func (a *app) problemView(w, h int) string {
	t := a.env.Theme
	lines, room := a.problemLines(w, h)
	top := max(0, min(a.top, len(lines)-room)) // the screen may have been resized since the last key
	keys := "esc closes it, y copies it"
	if printedOnExit(a.flash.Text) {
		keys += "; printed again when you quit"
	}
	title := "problem"
	if room < len(lines) {
		title = fmt.Sprintf("problem, lines %d to %d of %d; up and down scroll", top+1, top+room, len(lines))
	}
	inside, _ := components.InnerSize(w, h)
	shown := append(lines[top:top+room:top+room], t.Dim.Render(components.Cut(t, keys, inside)))
	return components.Panel(t, title, strings.Join(shown, "\n"), w, room+3)
}

// problemLine returns the first line of the problem, with a hint to scroll if the box
// does not show its end.
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
