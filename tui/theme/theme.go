// Package theme holds the colours and glyphs of the terminal UI. Colour never
// stands alone: whatever it says is also said by a glyph or a word.
package theme

import (
	"image/color"

	"charm.land/lipgloss/v2"
)

// Theme is how everything looks.
type Theme struct {
	Text, Dim, Accent, Good, Warn, Bad lipgloss.Style

	Title    lipgloss.Style // of the screen and of panels
	Selected lipgloss.Style // the line of the cursor
	Border   lipgloss.Style
	Key      lipgloss.Style // keys in help
	Changed  lipgloss.Style // values that differ from a preset's

	Series []lipgloss.Style // of curves

	Glyphs
}

// Options choose a theme. The zero value suits dark terminals.
type Options struct {
	Light bool // the background
	ASCII bool // nothing but ASCII
}

// New makes a theme. Colours are given for terminals of 24 bits; Bubble Tea
// brings them to what the terminal has.
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

// Curve is the style of the i-th curve, counted from 0.
func (t *Theme) Curve(i int) lipgloss.Style { return t.Series[i%len(t.Series)] }
