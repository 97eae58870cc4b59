package charts

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// labelEvery is the number of rows between labels of the Y axis.
const labelEvery = 3

// yLabels returns a label, or "", for each row from the top.
func (p *drawing) yLabels(rows int) []string {
	labels := make([]string, rows)
	value := func(r int) float64 {
		t := float64(r) / float64(max(1, rows-1))
		y := p.hi*(1-t) + p.lo*t
		if p.Log {
			y = math.Pow(10, y)
		}
		return y
	}
	step := math.Abs(value(0) - value(min(labelEvery, rows-1)))
	if p.Log {
		step = 0 // the labels differ by factors, so each gets three significant digits
	}
	for r := 0; r < rows; r += labelEvery {
		labels[r] = number(value(r), step)
	}
	return labels
}

// number formats v with enough digits to distinguish steps of the given size, or with
// three significant digits if step is 0.
func number(v, step float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case v == 0:
		return "0"
	case a >= 1e6 || a < 1e-4 && (step == 0 || step < 1e-4):
		return strconv.FormatFloat(v, 'e', 1, 64)
	case step <= 0 || !finite(step):
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	digits := max(0, min(5, 1-int(math.Floor(math.Log10(step)))))
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// xAxis returns the line below the plot and its labels.
func (p *drawing) xAxis(left, width int) []string {
	corner, line := p.glyph('└', '+'), string(p.glyph('─', '-'))
	axis := strings.Repeat(" ", left) + string(corner) + strings.Repeat(line, width)

	labels := []byte(strings.Repeat(" ", left+1+width))
	put := func(text string, col int) {
		col = max(0, min(col, len(labels)-len(text)))
		// Leave out a label that would overlap another.
		if from, to := max(0, col-1), min(len(labels), col+len(text)+1); len(text) > len(labels) || strings.TrimSpace(string(labels[from:to])) != "" {
			return
		}
		copy(labels[col:], text)
	}
	put(formatX(p.x0), left+1)
	last := formatX(p.x1)
	if p.x1 > p.x0 {
		put(last, len(labels)-len(last))
	}
	if label := p.XLabel; label != "" {
		put(label, left+1+(width-len(label))/2)
	}
	const minSpan = 8 // on a shorter axis, rounding would move the quarters too far
	if span := p.x1 - p.x0; span >= minSpan && finite(span) && width >= 50 {
		for _, t := range []float64{0.25, 0.75} {
			x := math.Round(p.x0 + t*span)
			put(formatX(x), left+1+p.column(x, width)-len(formatX(x))/2)
		}
	}
	return []string{p.Axis.Render(axis), p.Axis.Render(string(labels))}
}

// legend lists the series with their marks and values, in lines of at most p.Width cells.
func (p *drawing) legend() []string {
	var lines []string
	line := ""
	add := func(text string) {
		text = ansi.Truncate(text, p.Width, "")
		switch {
		case line == "":
			line = text
		case ansi.StringWidth(line)+2+ansi.StringWidth(text) <= p.Width:
			line += "  " + text
		default:
			lines = append(lines, line)
			line = text
		}
	}
	if p.Cursor != nil {
		add(p.Marker.Render(fmt.Sprintf("%s %s:", p.XLabel, formatX(*p.Cursor))))
	}
	for i, s := range p.series {
		mark := string(s.Mark)
		if i == p.Focus {
			mark = string(p.glyph('─', s.Mark))
		}
		value := s.last
		if p.Cursor != nil {
			value = s.At(*p.Cursor)
		}
		text := mark + " " + s.Name + " " + number(value, 0)
		if s.dropped > 0 {
			text += fmt.Sprintf(" (%d not drawn)", s.dropped)
		}
		style := s.Style
		if i == p.Focus {
			style = style.Bold(true)
		}
		add(style.Render(text))
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// formatX formats a value of the X axis.
func formatX(x float64) string {
	if x == math.Trunc(x) && math.Abs(x) < 1e9 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return number(x, 0)
}
