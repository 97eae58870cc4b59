package pages

import (
	"math"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/runs"
	"hatchery/tui/charts"
	"hatchery/tui/keymap"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// metrics are the values that can be drawn as curves. name is the key in events, paper the
// metric in presets.
var metrics = []struct{ name, title, paper string }{
	{runs.Top1, "top-1 accuracy, %", "top1"},
	{runs.Loss, "training loss", "train_loss"},
	{runs.EvalLoss, "evaluation loss", ""},
	{runs.LR, "learning rate", ""},
	{runs.Speed, "images/s", ""},
}

// xAxes are the values of the X axis.
var xAxes = []string{"epoch", "seconds", "samples"}

var smoothings = []float64{0, 0.6, 0.9}

// chart is the state of a chart of curves.
type chart struct {
	metric, axis, smooth int // indices in metrics, xAxes and smoothings
	log                  bool
	zoom                 int      // number of times that the range of the X axis is halved
	cursor               *float64 // X of the cursor; nil: none
	table                bool     // show a table of numbers instead
}

// hasChart is a page with curves.
type hasChart interface {
	chart() *chart
	curves() []charts.Series
}

// chartKeys returns the keys of the chart of a page.
func chartKeys[T hasChart]() keymap.Table[T] {
	do := func(f func(c *chart)) func(T) tea.Cmd {
		return func(p T) tea.Cmd { f(p.chart()); return nil }
	}
	move := func(by int) func(T) tea.Cmd {
		return func(p T) tea.Cmd { p.chart().move(charts.Xs(p.curves()), by); return nil }
	}
	hasCursor := func(p T) bool { return p.chart().cursor != nil }
	return keymap.Table[T]{
		{Name: "chart.metric", Keys: []string{"m"}, Help: "next curve", Short: true, Do: do(func(c *chart) { c.metric = (c.metric + 1) % len(metrics) })},
		{Name: "chart.axis", Keys: []string{"x"}, Help: "by epoch / time / samples", Do: do(func(c *chart) { c.axis = (c.axis + 1) % len(xAxes); c.cursor, c.zoom = nil, 0 })},
		{Name: "chart.log", Keys: []string{"l"}, Help: "log scale", Do: do(func(c *chart) { c.log = !c.log })},
		{Name: "chart.smooth", Keys: []string{"o"}, Help: "smoothing", Do: do(func(c *chart) { c.smooth = (c.smooth + 1) % len(smoothings) })},
		{Name: "chart.closer", Keys: []string{"+"}, Help: "zoom in", Do: do(func(c *chart) { c.zoom = min(c.zoom+1, 6) })},
		{Name: "chart.wider", Keys: []string{"-"}, Help: "zoom out", Do: do(func(c *chart) { c.zoom = max(c.zoom-1, 0) })},
		{Name: "chart.left", Keys: []string{"left", "h"}, Help: "cursor left", Do: move(-1)},
		{Name: "chart.right", Keys: []string{"right"}, Help: "cursor right", Do: move(1)},
		{Name: "chart.last", Keys: []string{"0"}, Help: "hide the cursor", When: hasCursor, Do: do(func(c *chart) { c.cursor = nil })},
		{Name: "chart.numbers", Keys: []string{"t"}, Help: "curves / table", Do: do(func(c *chart) { c.table = !c.table })},
	}
}

// move moves the cursor by the given number of stops.
func (c *chart) move(stops []float64, by int) {
	if len(stops) == 0 {
		return
	}
	i := len(stops) // after the last one
	if c.cursor != nil {
		for i = 0; i < len(stops) && stops[i] < *c.cursor; i++ {
		}
	}
	i = max(0, min(i+by, len(stops)-1))
	c.cursor = &stops[i]
}

// options returns the options for drawing the chart.
func (c *chart) options(t *theme.Theme, series []charts.Series, w, h, focus int) charts.Options {
	o := charts.Options{
		Width: w, Height: h, XLabel: xAxes[c.axis], Log: c.log, Smooth: smoothings[c.smooth],
		Cursor: c.cursor, Focus: focus, ASCII: t.ASCII, Axis: t.Dim, Marker: t.Accent,
	}
	if stops := charts.Xs(series); c.zoom > 0 && len(stops) > 1 {
		first, last := stops[0], stops[len(stops)-1]
		span := (last - first) / math.Pow(2, float64(c.zoom))
		o.To = last
		if c.cursor != nil {
			o.To = min(last, max(first+span, *c.cursor+span/2))
		}
		o.From = o.To - span
	}
	return o
}

// title returns the title of the chart.
func (c *chart) title() string {
	s := metrics[c.metric].title + " by " + xAxes[c.axis]
	if c.log {
		s += ", log scale"
	}
	if c.smooth > 0 {
		s += ", smoothed"
	}
	return s
}

// curve returns the metric of a stage as points.
func (c *chart) curve(s watch.Snapshot, stage string) []charts.Point {
	st := s.State.Stage(stage)
	if st == nil {
		return nil
	}
	var points []charts.Point
	for _, p := range st.Points {
		y, ok := p.Values[metrics[c.metric].name]
		if !ok {
			continue
		}
		x := float64(p.Epoch)
		switch xAxes[c.axis] {
		case "seconds":
			x = s.Seconds[watch.StageEpoch{Stage: stage, Epoch: p.Epoch}]
		case "samples":
			x = float64(p.Step * max(1, st.Batch)) // a batch of 0 is unknown
		}
		points = append(points, charts.Point{X: x, Y: y})
	}
	return points
}

// mark returns the letter or digit that draws the curve of a stage.
func mark(st *runs.StageState) rune {
	if st.Module > 0 {
		return rune('0' + st.Module%10)
	}
	for _, letter := range st.Name {
		return letter
	}
	return '?'
}
