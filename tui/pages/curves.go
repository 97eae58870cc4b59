package pages

import (
	"math"
	"strings"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/keymap"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// metrics are the curves that there are, by what they are called in events.
var metrics = []struct{ name, title, paper string }{
	{runs.Top1, "top-1 accuracy, %", "top1"},
	{runs.Loss, "training loss", "train_loss"},
	{runs.EvalLoss, "evaluation loss", ""},
	{runs.LR, "learning rate", ""},
	{runs.Speed, "images/s", ""},
}

// across are the X axes.
var across = []string{"epoch", "seconds", "samples"}

var smoothings = []float64{0, 0.6, 0.9}

// chart is how curves are looked at.
type chart struct {
	metric, axis, smooth int
	log                  bool
	zoom                 int // the X axis is cut to a half so many times
	cursor               *float64
	numbers              bool // as a table
}

// hasChart is a page with curves.
type hasChart interface {
	chart() *chart
	curves() []charts.Series
}

// chartKeys are the keys of curves, on any page that has them.
func chartKeys[T hasChart]() keymap.Table[T] {
	do := func(f func(c *chart)) func(T) tea.Cmd {
		return func(p T) tea.Cmd { f(p.chart()); return nil }
	}
	move := func(by int) func(T) tea.Cmd {
		return func(p T) tea.Cmd { p.chart().move(charts.Xs(p.curves()), by); return nil }
	}
	reads := func(p T) bool { return p.chart().cursor != nil }
	return keymap.Table[T]{
		{Name: "chart.metric", Keys: []string{"m"}, Help: "next curve", Short: true, Do: do(func(c *chart) { c.metric = (c.metric + 1) % len(metrics) })},
		{Name: "chart.axis", Keys: []string{"x"}, Help: "by epoch / time / samples", Do: do(func(c *chart) { c.axis = (c.axis + 1) % len(across); c.cursor, c.zoom = nil, 0 })},
		{Name: "chart.log", Keys: []string{"l"}, Help: "log scale", Do: do(func(c *chart) { c.log = !c.log })},
		{Name: "chart.smooth", Keys: []string{"o"}, Help: "smoother", Do: do(func(c *chart) { c.smooth = (c.smooth + 1) % len(smoothings) })},
		{Name: "chart.closer", Keys: []string{"+"}, Help: "closer", Do: do(func(c *chart) { c.zoom = min(c.zoom+1, 6) })},
		{Name: "chart.wider", Keys: []string{"-"}, Help: "wider", Do: do(func(c *chart) { c.zoom = max(c.zoom-1, 0) })},
		{Name: "chart.left", Keys: []string{"left", "h"}, Help: "read values to the left", Do: move(-1)},
		{Name: "chart.right", Keys: []string{"right"}, Help: "read values to the right", Do: move(1)},
		{Name: "chart.last", Keys: []string{"0"}, Help: "read the last values", When: reads, Do: do(func(c *chart) { c.cursor = nil })},
		{Name: "chart.numbers", Keys: []string{"t"}, Help: "curves / table", Do: do(func(c *chart) { c.numbers = !c.numbers })},
	}
}

// move brings the cursor to the next of the stops.
func (c *chart) move(stops []float64, by int) {
	if len(stops) == 0 {
		return
	}
	at := len(stops) // right of the last one
	if c.cursor != nil {
		for at = 0; at < len(stops) && stops[at] < *c.cursor; at++ {
		}
	}
	at = max(0, min(at+by, len(stops)-1))
	c.cursor = &stops[at]
}

// options turn the way of looking into a chart's.
func (c *chart) options(t *theme.Theme, series []charts.Series, w, h, focus int) charts.Options {
	o := charts.Options{
		Width: w, Height: h, XLabel: across[c.axis], Log: c.log, Smooth: smoothings[c.smooth],
		Cursor: c.cursor, Focus: focus, ASCII: t.ASCII, Axis: t.Dim, Marker: t.Accent,
	}
	if stops := charts.Xs(series); c.zoom > 0 && len(stops) > 1 {
		first, last := stops[0], stops[len(stops)-1]
		wide := (last - first) / math.Pow(2, float64(c.zoom))
		o.To = last
		if c.cursor != nil {
			o.To = min(last, max(first+wide, *c.cursor+wide/2))
		}
		o.From = o.To - wide
	}
	return o
}

// title says what the curves are.
func (c *chart) title() string {
	s := metrics[c.metric].title + " by " + across[c.axis]
	if c.log {
		s += ", log scale"
	}
	if c.smooth > 0 {
		s += ", smoothed"
	}
	return s
}

// curve is a metric of a stage.
func (c *chart) curve(s watch.Snapshot, config *presets.Config, stage string) []charts.Point {
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
		switch across[c.axis] {
		case "seconds":
			x = s.Seconds[watch.Place{Stage: stage, Epoch: p.Epoch}]
		case "samples":
			x = float64(p.Step * batch(config, stage))
		}
		points = append(points, charts.Point{X: x, Y: y})
	}
	return points
}

// batch is the images of a step of a stage.
func batch(c *presets.Config, stage string) int {
	if c == nil {
		return 1
	}
	return recipe(c, stage).Batch
}

// recipe is the table of the configuration that a stage follows.
func recipe(c *presets.Config, stage string) presets.Recipe {
	e2e, finetune := strings.HasPrefix(stage, "e2e"), strings.HasPrefix(stage, "finetune")
	switch {
	case stage == "meta":
		return c.Meta
	case (e2e || finetune) && endsInNumber(stage):
		return c.HighRes.Recipe
	case e2e:
		return c.E2E
	case finetune:
		return c.Finetune
	}
	return c.Modular
}

// module is the number of the module that a stage trains, 0 for any other: not
// the image size at the end of "finetune-384".
func module(stage string) int {
	if strings.HasPrefix(stage, "e2e") || strings.HasPrefix(stage, "finetune") {
		return 0
	}
	n, power := 0, 1
	for i := len(stage) - 1; i >= 0 && stage[i] >= '0' && stage[i] <= '9'; i-- {
		n += int(stage[i]-'0') * power
		power *= 10
	}
	return n
}

// endsInNumber tells the stage at a larger image size from the one before it.
func endsInNumber(stage string) bool {
	_, size, _ := strings.Cut(stage, "-")
	return size != "" && size[len(size)-1] >= '0' && size[len(size)-1] <= '9'
}

// mark is the letter or digit that draws a stage's curve.
func mark(stage string) rune {
	if n := module(stage); n > 0 {
		return rune('0' + n%10)
	}
	if stage == "" {
		return '?'
	}
	return rune(stage[0])
}
