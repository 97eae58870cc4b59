// Package theme holds the colours and glyphs of the terminal UI. No information is in a
// colour alone; a glyph or a word carries it too.
package theme

import (
	"image/color"

	"charm.land/lipgloss/v2"
)

// Theme holds the styles and glyphs that pages draw with.
type Theme struct {
	Text, Dim, Accent, Good, Warn, Bad lipgloss.Style

	Title    lipgloss.Style // of the screen and of panels
	Selected lipgloss.Style // the selected line
	Border   lipgloss.Style
	Key      lipgloss.Style // keys in the help
	Changed  lipgloss.Style // values that differ from those of the preset

	Series []lipgloss.Style // curves, see Curve

	Glyphs
}

// Options select a theme. The zero value is for a dark background and Unicode glyphs.
type Options struct {
	Light bool // the background is light
	ASCII bool // draw with ASCII only
}

// New returns a theme. Its colours are 24-bit; Bubble Tea reduces them to those that the
// terminal can show.
func New(o Options) *Theme {
	pick := func(light, dark string) color.Color {
		if o.Light {
			return lipgloss.Color(light)
		}
		return lipgloss.Color(dark)
	}
	ink := func(light, dark string) lipgloss.Style { return lipgloss.NewStyle().Foreground(pick(light, dark)) }
	t := &Theme{
		Text:     lipgloss.NewStyle(),
		Dim:      ink("#5c6370", "#8b93a1"),
		Accent:   ink("#0550ae", "#61afef"),
		Good:     ink("#1a7f37", "#7ec77b"),
		Warn:     ink("#9a6700", "#e5c07b"),
		Bad:      ink("#cf222e", "#f07178"),
		Title:    lipgloss.NewStyle().Bold(true),
		Selected: lipgloss.NewStyle().Reverse(true),
		Border:   ink("#8c959f", "#545b68"),
		Key:      lipgloss.NewStyle().Bold(true),
		Changed:  ink("#8250df", "#c792ea"),
		Glyphs:   unicode,
	}
	for _, c := range [][2]string{
		{"#0550ae", "#61afef"}, {"#bc4c00", "#e0a36a"}, {"#1a7f37", "#7ec77b"}, {"#8250df", "#c792ea"},
		{"#cf222e", "#f07178"}, {"#0a7d8c", "#56c8d8"}, {"#9a6700", "#e5c07b"}, {"#bf3989", "#f092c8"},
	} {
		t.Series = append(t.Series, ink(c[0], c[1]))
	}
	if o.ASCII {
		t.Glyphs = ascii
	}
	return t
}

// Curve returns the style of curve i, counted from 0. Styles repeat after the last.
func (t *Theme) Curve(i int) lipgloss.Style { return t.Series[i%len(t.Series)] }
