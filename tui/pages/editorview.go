package pages

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hatchery/engine/quantity"
	"hatchery/presets"
	"hatchery/tui/components"
	"hatchery/tui/layout"
	"hatchery/tui/theme"
)

const editorSide = 54

// SetSize sets the size of the body.
func (p *Editor) SetSize(w, h int) {
	p.w, p.h = w, h
	_, inside := components.InnerSize(0, layout.NewSplit(w, h, editorSide).Main.H)
	p.list.SetSize(len(p.shown()), inside-1-helpLines) // without the column titles and the help of a setting
}

// View draws the settings and the side panel.
func (p *Editor) View() string {
	t := p.env.Theme
	s := layout.NewSplit(p.w, p.h, editorSide)
	if p.validation.config == nil {
		text := "reading " + p.x.base
		for _, r := range p.validation.problems {
			text = r.String()
		}
		return components.Panel(t, p.x.base, strings.Join(components.Wrap(text, p.w-4), "\n"), p.w, p.h)
	}
	w, h := components.InnerSize(s.Main.W, s.Main.H)
	rows := components.Fit(strings.Join(p.rows(w), "\n"), w, h-helpLines)
	body := rows + "\n" + strings.Join(p.settingHelp(w), "\n")
	title := "settings"
	switch {
	case p.name.Active():
		title = "save as " + p.name.View(t)
	case p.filter.Active() || p.filter.Text() != "":
		title += "  filter " + p.filter.View(t)
	case p.changed:
		title = "changed settings"
	}
	view := components.Panel(t, title, body, s.Main.W, s.Main.H)
	if s.Side.Empty() {
		return view
	}
	title, text := p.sideText(s.Side.W-4, s.Side.H-2)
	side := components.Panel(t, title, text, s.Side.W, s.Side.H)
	if s.Side.Y > 0 {
		return view + "\n" + side
	}
	return components.JoinHorizontal(view, side)
}

func (p *Editor) rows(w int) []string {
	t := p.env.Theme
	all := p.shown()
	from, to := p.list.Visible()
	var rows [][]string
	for _, f := range all[from:min(to, len(all))] {
		value, mark := p.value(f), " "
		if p.input.Active() && f.Key == all[p.list.Selected].Key {
			value = p.input.WithCursor(t.Vertical)
		}
		if p.isChanged(f) {
			mark = "*"
			value = t.Changed.Render(value)
		}
		if p.problem(f) != "" {
			mark = "!"
			value = t.Bad.Render(value)
		}
		base := ""
		if p.base != nil {
			base = f.Text(p.base)
		}
		rows = append(rows, []string{f.Key, mark, value, t.Dim.Render(f.Unit), t.Dim.Render(base), t.Dim.Render(f.Range())})
	}
	columns := []components.Column{
		{Title: "setting"}, {Title: ""}, {Title: "value", MinWidth: 14}, {Title: "unit", Drop: 1},
		{Title: "preset", MinWidth: 8, Drop: 2}, {Title: "range", Drop: 3},
	}
	return components.Table(t, columns, rows, p.list.Selected-from, w)
}

// problem returns the problem with the value of a setting, or "" if there is none.
func (p *Editor) problem(f presets.Setting) string {
	for _, r := range p.problems() {
		if r.Key != "" && (r.Key == f.Key || r.Key == f.Shared) {
			return strings.TrimSuffix(r.Reason+"; "+r.Hint, "; ")
		}
	}
	return ""
}

// helpLines is the number of lines for the help of a setting and its problem.
const helpLines = 3

// settingHelp returns the help of the selected setting and its problem.
func (p *Editor) settingHelp(w int) []string {
	t := p.env.Theme
	f, ok := p.selected()
	if !ok {
		return []string{t.Dim.Render("no setting matches the filter")}
	}
	lines := []string{t.Dim.Render(components.Cut(t, f.Key+": "+f.About(), w))}
	if reason := p.problem(f); reason != "" {
		for _, l := range components.Wrap("! "+reason, w) {
			lines = append(lines, t.Bad.Render(l))
		}
	} else if p.input.Active() {
		lines = append(lines, t.Dim.Render("enter accepts, esc restores the previous value"))
	}
	return lines
}

func (p *Editor) sideText(w, h int) (title, text string) {
	t, c := p.env.Theme, p.validation.config
	var lines []string
	switch p.side {
	case sideOverview:
		title = "split"
		lines = append(splitDiagram(t, c, w), "")
		lines = append(lines, p.readiness(w)...)
	case sideCost:
		title, lines = "cost", p.costTable(w)
	default:
		title, lines = "changes", p.changes(w)
	}
	return title, strings.Join(lines[:min(len(lines), h)], "\n")
}

// readiness returns text about whether the experiment can start, or why not.
func (p *Editor) readiness(w int) []string {
	t := p.env.Theme
	rs := p.problems()
	switch {
	case len(rs) > 0:
		lines := []string{t.Bad.Render(fmt.Sprintf("%s cannot start: %d problems", t.Failed, len(rs)))}
		if len(rs) == 1 {
			lines[0] = t.Bad.Render(t.Failed + " cannot start")
		}
		for _, r := range rs {
			lines = append(lines, components.Wrap("! "+r.String(), w)...)
		}
		return lines
	case p.checking:
		return []string{t.Dim.Render("checking data, memory and disk" + t.Ellipsis)}
	case p.env.Launcher == nil:
		return []string{t.Dim.Render("valid")}
	}
	text := " can start: press s"
	if p.canSubmit() {
		text += ", or S for Slurm"
	}
	lines := []string{t.Good.Render(t.Done + text)}
	var memory int64
	var macs float64
	for _, e := range p.costs.stages {
		memory, macs = max(memory, e.Memory()), macs+e.MACs()
	}
	return append(lines, t.Dim.Render(fmt.Sprintf("peak memory %s, %s MACs in total", quantity.Bytes(memory), quantity.Count(macs))),
		t.Dim.Render(components.Cut(t, p.time(macs), w)))
}

func (p *Editor) costTable(w int) []string {
	t := p.env.Theme
	if p.costs.err != nil {
		return components.Wrap(t.Bad.Render(p.costs.err.Error()), w)
	}
	if len(p.costs.stages) == 0 {
		return []string{t.Dim.Render("estimating" + t.Ellipsis)}
	}
	var rows [][]string
	var macs float64
	for _, e := range p.costs.stages {
		name := e.Name
		if e.GroupSize > 1 {
			name += fmt.Sprintf(" +%d", e.GroupSize-1)
		}
		macs += e.MACs()
		rows = append(rows, []string{name, quantity.Count(float64(e.Network.Params)), quantity.Count(float64(e.Network.Forward)), strconv.Itoa(e.Steps), quantity.Bytes(e.Memory()), quantity.Count(e.MACs())})
	}
	columns := []components.Column{{Title: "stage"}, {Title: "params", Right: true}, {Title: "MACs", Right: true, Drop: 1},
		{Title: "steps", Right: true}, {Title: "memory", Right: true}, {Title: "total", Right: true, Drop: 2}}
	lines := components.Table(t, columns, rows, -1, w)
	lines = append(lines, "", "total: "+quantity.Count(macs)+" MACs")
	lines = append(lines, components.Cut(t, p.time(macs), w))
	if p.speed.known {
		lines = append(lines, components.Wrap("at "+quantity.Count(p.speed.MACs)+" MACs per second: "+p.speed.Basis, w)...)
	}
	for _, l := range components.Wrap("MACs: forward pass of one image; memory: planned peak, of the GPU or, on the CPU, of the whole process", w) {
		lines = append(lines, t.Dim.Render(l))
	}
	return lines
}

// time returns an estimate of the training time. It is a range, because small networks use a
// machine less efficiently than large ones, and the machine may have other load.
func (p *Editor) time(macs float64) string {
	s := p.speed
	if !s.known {
		return "time: unknown before the first run here"
	}
	seconds, shortest, longest := 3600*s.Hours(macs), 0.6, 1.8
	if s.Guess {
		shortest, longest = 0.4, 2.5
	}
	return fmt.Sprintf("time: %s to %s on %s", quantity.Duration(shortest*seconds), quantity.Duration(longest*seconds), s.Device)
}

func (p *Editor) changes(w int) []string {
	t := p.env.Theme
	if p.base == nil {
		return nil
	}
	diff := presets.Diff(p.base, p.validation.config)
	if len(diff) == 0 {
		return []string{t.Dim.Render("no changes")}
	}
	var rows [][]string
	for _, d := range diff {
		rows = append(rows, []string{d.Key, d.A, t.Changed.Render(d.B)})
	}
	return components.Table(t, []components.Column{{Title: "setting"}, {Title: "preset", MinWidth: 10}, {Title: "now", MinWidth: 10}}, rows, -1, w)
}

// splitDiagram draws the blocks of each module, and the blocks of the meta model below.
func splitDiagram(t *theme.Theme, c *presets.Config, w int) []string {
	split := c.Modules.Split
	if len(split) == 0 && c.Modules.K > 0 && c.Model.Depth%c.Modules.K == 0 {
		for range c.Modules.K {
			split = append(split, c.Model.Depth/c.Modules.K)
		}
	}
	sum := 0
	for _, n := range split {
		sum += max(0, n)
	}
	if len(split) == 0 || sum != c.Model.Depth || sum > 1<<12 {
		return []string{t.Dim.Render("no valid split")}
	}
	meta := c.Modules.MetaDepth
	lines := []string{fmt.Sprintf("%d blocks in %d modules, meta model of %d blocks", c.Model.Depth, len(split), meta*len(split))}
	// If there is room, draw each block as the digit of its module.
	target, metaLine, total := "", "", len(split)+1
	for i, n := range split {
		total += max(n, meta)
		mark := strconv.Itoa((i + 1) % 10)
		width := max(n, meta)
		target += t.Vertical + t.Curve(i).Render(components.FitLine(strings.Repeat(mark, n), width))
		metaLine += t.Vertical + components.FitLine(strings.Repeat("m", meta), width)
	}
	const label = 7
	if total+label <= w {
		return append(lines, "target "+target+t.Vertical, t.Dim.Render("meta   ")+metaLine+t.Vertical)
	}
	first := 0
	for i, n := range split {
		bar := max(1, int(math.Round(float64(n)*float64(max(4, w-34))/float64(slices.Max(split)))))
		lines = append(lines, fmt.Sprintf("module %-2d blocks %3d-%-3d meta %-2d ", i+1, first, first+n-1, meta)+t.Curve(i).Render(strings.Repeat(t.BarFull, bar)))
		first += n
	}
	return lines
}
