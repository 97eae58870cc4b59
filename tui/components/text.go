// Package components holds the elements that pages consist of. Each draws exactly the
// size that it is given.
package components

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/tui/theme"
)

// Fit cuts and pads a text to exactly width x height cells.
func Fit(text string, width, height int) string {
	width, height = max(0, width), max(0, height)
	lines := strings.Split(text, "\n")
	if len(lines) > height {
		lines = lines[:height]
	}
	for i, l := range lines {
		lines[i] = FitLine(l, width)
	}
	for len(lines) < height {
		lines = append(lines, strings.Repeat(" ", width))
	}
	return strings.Join(lines, "\n")
}

// FitLine cuts and pads a line to exactly width cells.
func FitLine(line string, width int) string {
	w := ansi.StringWidth(line)
	if w > width {
		line = ansi.Truncate(line, width, "")
		w = ansi.StringWidth(line)
	}
	return line + strings.Repeat(" ", max(0, width-w))
}

// Cut shortens a text to width cells. An ellipsis shows where it was cut.
func Cut(t *theme.Theme, text string, width int) string {
	return ansi.Truncate(text, max(0, width), t.Ellipsis)
}

// JoinHorizontal places two blocks of the same height side by side.
func JoinHorizontal(left, right string) string {
	return lipgloss.JoinHorizontal(lipgloss.Top, left, right)
}

// Spread puts one text at the left end of a line and one at the right end. If both do
// not fit, the right one is left out.
func Spread(left, right string, width int) string {
	gap := width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if gap < 1 {
		return FitLine(left, width)
	}
	return left + strings.Repeat(" ", gap) + right
}

// hyphen stands in for "-" while lines are broken, so that they are not broken after it:
// commands and paths are full of hyphens.
const hyphen = "\ue000"

// Wrap breaks a text at its spaces into lines of at most width cells. Only a word that is
// longer than a line is broken.
func Wrap(text string, width int) []string {
	whole := ansi.Wrap(strings.ReplaceAll(text, "-", hyphen), max(1, width), "")
	return strings.Split(strings.ReplaceAll(whole, hyphen, "-"), "\n")
}

// Brief returns the first line of a text. If the text has more lines, it adds how to see
// them: " (more: press enter)" if more is "press enter".
func Brief(text, more string) string {
	first, _, cut := strings.Cut(strings.TrimSpace(text), "\n")
	if !cut {
		return first
	}
	return strings.TrimRight(first, ":; ") + " (more: " + more + ")"
}

// Panel draws a border with a title around a body. width and height include the border;
// InnerSize returns the size of the body.
func Panel(t *theme.Theme, title, body string, width, height int) string {
	if width < 8 || height < 3 { // a border would leave nothing
		return Fit(body, width, height)
	}
	w, h := InnerSize(width, height)
	title = " " + Cut(t, title, width-6) + " "
	if title == "  " {
		title = t.Horizontal + t.Horizontal
	}
	line := func(n int) string { return strings.Repeat(t.Horizontal, max(0, n)) }
	var b strings.Builder
	b.WriteString(t.Border.Render(t.TopLeft+t.Horizontal) + t.Title.Render(title) +
		t.Border.Render(line(width-3-ansi.StringWidth(title))+t.TopRight))
	side := t.Border.Render(t.Vertical)
	for l := range strings.SplitSeq(Fit(body, w, h), "\n") {
		b.WriteString("\n" + side + " " + l + " " + side)
	}
	b.WriteString("\n" + t.Border.Render(t.BottomLeft+line(width-2)+t.BottomRight))
	return b.String()
}

// InnerSize returns the size of a panel's body.
func InnerSize(width, height int) (w, h int) { return max(0, width-4), max(0, height-2) }

// Bar draws a progress bar of width cells. part is from 0 to 1.
func Bar(t *theme.Theme, part float64, width int) string {
	if width < 1 {
		return ""
	}
	full := int(max(0, min(1, part))*float64(width) + 0.5)
	return t.Accent.Render(strings.Repeat(t.BarFull, full)) + t.Dim.Render(strings.Repeat(t.BarEmpty, width-full))
}
