package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"hatchery/engine/study"
)

// Chart is a chart of curves.
type Chart struct {
	Name, Title string // Name can be part of a file name
	X, Y        string // labels of the axes
	Lines       []Line
}

// Line is a curve of a chart. A level is drawn over the whole width, numbers of the paper
// as a dotted line.
type Line struct {
	study.Curve
	Paper bool
}

// The size of the image and the margins around the plot, in SVG units.
const (
	svgWidth, svgHeight = 720, 320
	plotLeft, plotRight = 64, 12
	plotTop, plotBottom = 12, 44
	plotWidth           = svgWidth - plotLeft - plotRight
	plotHeight          = svgHeight - plotTop - plotBottom
	ticksX, ticksY      = 8, 6
	colours             = 8  // classes c0 to c7 of the style sheet
	maxMarked           = 40 // a line with more points is drawn without point markers
	markRadius          = 2.5
)

// SVG returns the chart as SVG, or "" if there is nothing to draw.
func (c Chart) SVG() template.HTML {
	x0, x1, y0, y1 := c.extent()
	if x0 > x1 {
		return ""
	}
	px := func(x float64) float64 { return plotLeft + plotWidth*(x-x0)/(x1-x0) }
	py := func(y float64) float64 { return plotTop + plotHeight*(y1-y)/(y1-y0) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, svgWidth, svgHeight, html.EscapeString(c.Title+", by "+c.X))
	fmt.Fprintf(&b, `<title>%s</title>`, html.EscapeString(c.Title))
	for _, y := range ticks(y0, y1, ticksY) {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fH%d"/><text class="y" x="%d" y="%.1f">%s</text>`,
			plotLeft, py(y), svgWidth-plotRight, plotLeft-6, py(y)+4, formatTick(y))
	}
	for _, x := range ticks(x0, x1, ticksX) {
		fmt.Fprintf(&b, `<path class="tick" d="M%.1f %dv4"/><text class="x" x="%.1f" y="%d">%s</text>`,
			px(x), plotTop+plotHeight, px(x), plotTop+plotHeight+17, formatTick(x))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dV%dH%d"/>`, plotLeft, plotTop, plotTop+plotHeight, svgWidth-plotRight)
	fmt.Fprintf(&b, `<text class="x" x="%d" y="%d">%s</text>`, plotLeft+plotWidth/2, svgHeight-6, html.EscapeString(c.X))
	for i, l := range c.Lines {
		class := fmt.Sprintf("line c%d", i%colours)
		if l.Paper {
			class += " paper"
		}
		fmt.Fprintf(&b, `<g class="%s"><title>%s</title>`, class, html.EscapeString(l.Name))
		if l.Level {
			fmt.Fprintf(&b, `<path class="level" d="M%d %.1fH%d"/>`, plotLeft, py(l.Points[0].Y), svgWidth-plotRight)
		} else {
			b.WriteString(`<path d="`)
			for j, p := range l.Points {
				fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(j, 1)], px(p.X), py(p.Y))
			}
			b.WriteString(`"/>`)
			if len(l.Points) <= maxMarked {
				for _, p := range l.Points {
					fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%v"/>`, px(p.X), py(p.Y), markRadius)
				}
			}
		}
		b.WriteString(`</g>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// Class returns the CSS classes of line i in the legend.
func (c Chart) Class(i int) string {
	class := fmt.Sprintf("c%d", i%colours)
	if c.Lines[i].Paper {
		class += " paper"
	}
	return class
}

// extent returns the ranges of the axes. If there is nothing to draw, x0 > x1.
func (c Chart) extent() (x0, x1, y0, y1 float64) {
	x0, x1, y0, y1 = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range c.Lines {
		for _, p := range l.Points {
			y0, y1 = min(y0, p.Y), max(y1, p.Y)
			if !l.Level {
				x0, x1 = min(x0, p.X), max(x1, p.X)
			}
		}
	}
	if y0 > y1 {
		return 1, 0, 0, 0
	}
	if x0 > x1 { // only levels
		x0, x1 = 0, 1
	}
	if x0 == x1 {
		x0, x1 = x0-0.5, x1+0.5
	}
	margin := 0.05 * (y1 - y0)
	if margin == 0 {
		margin = max(0.5, math.Abs(y0)/10)
	}
	return x0, x1, y0 - margin, y1 + margin
}

// ticks returns about n round numbers from lo to hi.
func ticks(lo, hi float64, n int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, f := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(f*step) <= float64(n) {
			step *= f
			break
		}
	}
	var all []float64
	for i := math.Ceil(lo / step); i*step <= hi*(1+1e-12); i++ {
		all = append(all, i*step)
	}
	return all
}

// formatTick formats the number of a tick without rounding errors in its last digits.
func formatTick(x float64) string {
	if math.Abs(x) < 1e-15 {
		return "0"
	}
	return strconv.FormatFloat(x, 'g', 6, 64)
}

// xs returns the distinct X values of all points, in increasing order.
func (c Chart) xs() []float64 {
	var xs []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !l.Level {
				xs = append(xs, p.X)
			}
		}
	}
	slices.Sort(xs)
	return slices.Compact(xs)
}

// Table returns the chart as a table with a column for each line.
func (c Chart) Table() Table {
	t := Table{Name: c.Name, Caption: c.Title, Head: []string{c.X}}
	rows := map[float64]Row{}
	xs := c.xs()
	if len(xs) == 0 && len(c.Lines) > 0 {
		xs = []float64{0}
	}
	for _, x := range xs {
		rows[x] = Row{text(formatTick(x))}
	}
	for _, l := range c.Lines {
		t.Head = append(t.Head, l.Name)
		values := map[float64]float64{}
		for _, p := range l.Points {
			values[p.X] = p.Y
		}
		for _, x := range xs {
			y, ok := values[x]
			if l.Level {
				y, ok = l.Points[0].Y, true
			}
			if !ok {
				y = math.NaN()
			}
			rows[x] = append(rows[x], Cell{Number: y, Digits: -1, number: true})
		}
	}
	for _, x := range xs {
		t.Rows = append(t.Rows, rows[x])
	}
	return t
}
