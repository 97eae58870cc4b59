// Package charts draws curves as text.
//
// asciigraph draws the lines. This package adds the following for training curves: all
// series share one X axis, even if they have different points; each column keeps its
// lowest and highest value, so that a spike of one point in thousands is visible; values
// that are not finite are left out and counted; the size is exact; and series differ by
// their marks, not by colour alone.
package charts

import (
	"math"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/guptarohit/asciigraph"
)

// Point is a point of a curve.
type Point struct{ X, Y float64 }

// Series is one curve.
type Series struct {
	Name   string
	Mark   rune    // character that draws the curve; 0: one from a list
	Points []Point // sorted by X
	Style  lipgloss.Style

	// Level makes the series a horizontal line over the whole width, at the Y of its
	// last point: a number to compare curves with.
	Level bool
}

// Options configure a chart. Width and Height are the size of the whole text.
type Options struct {
	Width, Height int // cells
	XLabel        string

	Log      bool    // logarithmic Y axis; values that are not positive are left out
	Smooth   float64 // weight of the past in an exponential moving average: 0 (off) to less than 1
	From, To float64 // range of the X axis to show; To <= From: all

	Focus  int      // index of the series that is drawn last and as a line, or -1
	Cursor *float64 // X at which the legend shows values; nil: it shows the last values
	ASCII  bool     // draw with ASCII only

	Axis   lipgloss.Style // axes and labels
	Marker lipgloss.Style // the cursor
}

// The smallest chart with curves. A smaller one shows only the legend.
const (
	minWidth  = 16
	minHeight = 4
)

// Render draws the series. The text has at most o.Height lines of at most
// o.Width cells.
func Render(series []Series, o Options) string {
	if o.Width < 1 || o.Height < 1 {
		return ""
	}
	p := prepare(series, o)
	legend := p.legend()
	if o.Width < minWidth || o.Height < minHeight {
		return strings.Join(legend[:min(len(legend), o.Height)], "\n")
	}
	if most := max(1, o.Height/4); len(legend) > most {
		legend = legend[:most]
	}
	rows := o.Height - len(legend)
	lines := p.plot(rows)
	return strings.Join(append(lines, legend...), "\n")
}

// drawing is a chart with its axis ranges and the points to draw.
type drawing struct {
	Options
	series []curve
	x0, x1 float64 // ends of the X axis
	lo, hi float64 // ends of the Y axis, logarithms if Log
	drawn  bool    // there is a point to draw
}

// curve is a series with the points that can be drawn.
type curve struct {
	Series
	points  []Point // finite, within the X axis, smoothed; Y is the logarithm if Log
	dropped int     // number of points that are not finite, or not positive if Log
	last    float64 // the last finite Y of the given points; NaN if there is none
}

// marks are the marks of series without a Mark. Axes use none of them.
var marks = []rune("*ox#@%&=~$^v")

func prepare(series []Series, o Options) *drawing {
	p := &drawing{Options: o, x0: math.Inf(1), x1: math.Inf(-1), lo: math.Inf(1), hi: math.Inf(-1)}
	zoomed := o.To > o.From
	for i, s := range series {
		if s.Mark == 0 {
			s.Mark = marks[i%len(marks)]
		}
		c := curve{Series: s, last: math.NaN()}
		past := math.NaN()
		for _, q := range s.Points {
			if !finite(q.X) || !finite(q.Y) || o.Log && q.Y <= 0 {
				c.dropped++
				continue
			}
			c.last = q.Y
			if o.Log {
				q.Y = math.Log10(q.Y)
			}
			if o.Smooth > 0 && !s.Level {
				if !math.IsNaN(past) {
					q.Y = o.Smooth*past + (1-o.Smooth)*q.Y
				}
				past = q.Y
			}
			if zoomed && !s.Level && (q.X < o.From || q.X > o.To) {
				continue
			}
			c.points = append(c.points, q)
		}
		if s.Level && len(c.points) > 1 {
			c.points = c.points[len(c.points)-1:]
		}
		for _, q := range c.points {
			p.lo, p.hi = min(p.lo, q.Y), max(p.hi, q.Y)
			if !s.Level {
				p.x0, p.x1 = min(p.x0, q.X), max(p.x1, q.X)
				p.drawn = true
			}
		}
		p.series = append(p.series, c)
	}
	if zoomed {
		p.x0, p.x1 = o.From, o.To
	}
	if p.lo == p.hi {
		// A flat curve lies in the middle, with enough room for its labels to differ.
		room := max(math.Abs(p.lo)*0.05, 1e-6)
		p.lo, p.hi = clamp(p.lo-room), clamp(p.hi+room)
	}
	return p
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// clamp keeps a bound finite.
func clamp(x float64) float64 { return max(-math.MaxFloat64, min(math.MaxFloat64, x)) }

// between returns the position of v between a (0) and b (1).
func between(v, a, b float64) float64 {
	if !(a < b) {
		return 0
	}
	t := (v - a) / (b - a)
	if math.IsInf(b-a, 0) { // the difference of two huge numbers overflows
		t = (v/2 - a/2) / (b/2 - a/2)
	}
	return max(0, min(1, t))
}

// column returns the column of x in a plot of width columns.
func (p *drawing) column(x float64, width int) int {
	return int(math.Round(between(x, p.x0, p.x1) * float64(width-1)))
}

// cell is a character of the plot and the series that it belongs to.
type cell struct {
	r      rune
	series int
}

const noSeries = -1

// plot draws the curves, their axes and labels in the given number of lines.
func (p *drawing) plot(rows int) []string {
	if !p.drawn {
		return p.empty(rows)
	}
	height := rows - 2 // the X axis and its labels
	labels := p.yLabels(height)
	left := 0
	for _, l := range labels {
		left = max(left, len(l))
	}
	width := p.Width - left - 1
	grid := make([][]cell, height)
	for r := range grid {
		grid[r] = make([]cell, width)
		for c := range grid[r] {
			grid[r][c] = cell{' ', noSeries}
		}
	}
	for _, i := range p.order() {
		p.draw(grid, i)
	}
	if p.Cursor != nil && finite(*p.Cursor) {
		c := p.column(*p.Cursor, width)
		for r := range grid {
			if grid[r][c].series == noSeries {
				grid[r][c].r = p.glyph('┊', ':')
			}
		}
	}
	lines := make([]string, 0, rows)
	for r := range grid {
		axis := strings.Repeat(" ", left-len(labels[r])) + labels[r]
		tick := p.glyph('│', '|')
		if labels[r] != "" {
			tick = p.glyph('┤', '|')
		}
		lines = append(lines, p.Axis.Render(axis+string(tick))+p.paint(grid[r]))
	}
	return append(lines, p.xAxis(left, width)...)
}

func (p *drawing) empty(rows int) []string {
	lines := make([]string, rows)
	const text = "no values yet"
	lines[rows/2] = p.Axis.Render(strings.Repeat(" ", max(0, (p.Width-len(text))/2)) + ansi.Truncate(text, p.Width, ""))
	return lines
}

// order returns the indices of the series in the order of drawing: levels, then curves,
// then the focused series.
func (p *drawing) order() []int {
	var levels, curves []int
	for i, s := range p.series {
		switch {
		case i == p.Focus:
		case s.Level:
			levels = append(levels, i)
		default:
			curves = append(curves, i)
		}
	}
	order := append(levels, curves...)
	if p.Focus >= 0 && p.Focus < len(p.series) {
		order = append(order, p.Focus)
	}
	return order
}

// draw draws a curve with asciigraph and copies it onto the grid. It passes rows instead
// of values, because asciigraph rounds its bounds and may shift them.
func (p *drawing) draw(grid [][]cell, series int) {
	s := p.series[series]
	if len(s.points) == 0 {
		return
	}
	top := float64(len(grid) - 1)
	lowest, highest := p.columns(s, len(grid[0]))
	for _, values := range [][]float64{lowest, highest} {
		for c := range values {
			if !math.IsNaN(values[c]) {
				values[c] = math.Round(between(values[c], p.lo, p.hi) * top)
			}
		}
	}
	text := asciigraph.PlotMany([][]float64{highest, lowest},
		asciigraph.Height(int(top)), asciigraph.LowerBound(0), asciigraph.UpperBound(top),
		asciigraph.Offset(1), // one column for the axis, none for labels
		asciigraph.SeriesChars(p.charset(series), p.charset(series)))
	for r, line := range strings.Split(text, "\n") {
		c := -1 // column of the axis
		for _, g := range line {
			if c >= 0 && g != ' ' && r < len(grid) && c < len(grid[r]) {
				grid[r][c] = cell{g, series}
			}
			c++
		}
	}
}

// charset returns the characters that draw a series: lines for the focused one, otherwise
// its mark.
func (p *drawing) charset(series int) asciigraph.CharSet {
	set := asciigraph.CreateCharSet(string(p.series[series].Mark))
	if series == p.Focus && !p.ASCII {
		set = asciigraph.DefaultCharSet
		set.EndCap = set.Horizontal
	}
	set.StartCap = " " // asciigraph draws it one column before the first point
	return set
}

// paint renders a row. Neighbouring cells of one series are styled together.
func (p *drawing) paint(row []cell) string {
	var b, run strings.Builder
	flush := func(series int) {
		switch text := run.String(); {
		case text == "":
		case series != noSeries:
			b.WriteString(p.series[series].Style.Render(text))
		case strings.TrimSpace(text) != "":
			b.WriteString(p.Marker.Render(text))
		default:
			b.WriteString(text)
		}
		run.Reset()
	}
	last := noSeries
	for _, c := range row {
		if c.series != last {
			flush(last)
			last = c.series
		}
		run.WriteRune(c.r)
	}
	flush(last)
	return b.String()
}

func (p *drawing) glyph(unicode, ascii rune) rune {
	if p.ASCII {
		return ascii
	}
	return unicode
}
