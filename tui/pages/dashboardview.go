package pages

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/tui/charts"
	"hatchery/tui/components"
	"hatchery/tui/layout"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// View draws the run.
func (p *Dashboard) View() string {
	t := p.env.Theme
	if p.snap.State == nil {
		return components.Fit(t.Dim.Render("opening "+p.dir), p.w, p.h)
	}
	s := p.snap.State
	gpus := p.gpus()
	d := layout.NewDashboard(p.w, p.h, len(s.Stages)+1, len(gpus))
	parts := []string{
		components.FitLine(stageLine(t, s, p.w), d.Stages.W),
		components.Fit(strings.Join(p.rows(d.Rows.W), "\n"), d.Rows.W, d.Rows.H),
	}
	if !d.Chart.Empty() {
		c := p.chartPanel(d.Chart.W, d.Chart.H)
		if !d.Side.Empty() {
			c = components.JoinHorizontal(c, components.Panel(t, "run", strings.Join(p.side(d.Side.W-4), "\n"), d.Side.W, d.Side.H))
		}
		parts = append(parts, c)
	}
	if !d.GPUs.Empty() {
		parts = append(parts, components.FitLine(components.Cut(t, gpuLine(gpus), d.GPUs.W), d.GPUs.W))
	}
	return strings.Join(append(parts, components.FitLine(p.status(), d.Status.W)), "\n")
}

// gpus returns the GPUs of the run, none if its process is not running.
func (p *Dashboard) gpus() []runs.Device {
	if p.snap.Live.Alive != runs.IsRunning {
		return nil
	}
	return p.snap.State.Devices()
}

// gpuLine describes one GPU, or several GPUs briefly.
func gpuLine(all []runs.Device) string {
	if len(all) == 1 {
		return watch.DeviceLine(all[0])
	}
	var parts []string
	for _, d := range all {
		parts = append(parts, watch.DeviceBrief(d))
	}
	return strings.Join(parts, "; ")
}

// state returns the phase of a stage, or its location if it has a process of its own or runs
// on one of several GPUs.
func (p *Dashboard) state(st *runs.StageState, gpus []runs.Device) string {
	if len(gpus) > 1 && st.Phase == runs.Running {
		for _, d := range gpus {
			if slices.Contains(d.Stages, st.Name) {
				return cmp.Or(p.snap.Locations[st.Name].String(), watch.DeviceName(d))
			}
		}
	}
	return cmp.Or(p.snap.Locations[st.Name].String(), string(st.Phase))
}

// glyph returns the glyph of a phase.
func glyph(t *theme.Theme, p runs.Phase) string {
	switch p {
	case runs.Running:
		return t.Accent.Render(t.Running)
	case runs.Finished:
		return t.Good.Render(t.Done)
	case runs.Failed:
		return t.Bad.Render(t.Failed)
	case runs.Stopped, runs.Paused:
		return t.Warn.Render(t.Stopped)
	case runs.Queued, runs.Submitted:
		return t.Warn.Render(t.Waiting)
	}
	return t.Dim.Render(t.Waiting)
}

// stageLine returns a summary of the stages in their order. Modules of one group are
// summarized as one item.
func stageLine(t *theme.Theme, s *runs.State, w int) string {
	var parts []string
	for i := 0; i < len(s.Stages); {
		st := &s.Stages[i]
		if st.Module == 0 {
			parts = append(parts, glyph(t, st.Phase)+" "+st.Name)
			i++
			continue
		}
		done, n, phase := 0, 0, runs.Waiting
		for ; i < len(s.Stages) && s.Stages[i].Group == st.Group; i++ {
			n++
			if s.Stages[i].Phase == runs.Finished {
				done++
			}
			if x := s.Stages[i].Phase; x != runs.Waiting && x != runs.Finished {
				phase = x // a phase of one module stands for all
			}
		}
		if done == n {
			phase = runs.Finished
		}
		parts = append(parts, fmt.Sprintf("%s %ss %d/%d", glyph(t, phase), st.Group, done, n))
	}
	return components.Cut(t, strings.Join(parts, t.Dim.Render(" "+t.Arrow+" ")), w)
}

// rows returns the table of the stages.
func (p *Dashboard) rows(w int) []string {
	t, s := p.env.Theme, p.snap.State
	gpus := p.gpus()
	bar := max(6, min(24, (w-60)/2))
	var rows [][]string
	from, to := p.list.Visible()
	for i := from; i < to; i++ {
		st := &s.Stages[i]
		phase := st.Phase
		if p.snap.Locations[st.Name].Failed {
			phase = runs.Failed
		}
		row := []string{glyph(t, phase) + " " + st.Name, p.state(st, gpus), components.Bar(t, st.Progress(), bar) + fmt.Sprintf(" %3.0f%%", 100*st.Progress())}
		epochs := ""
		if st.Epochs > 0 {
			epochs = fmt.Sprintf("%d/%d", st.Epoch, st.Epochs)
		}
		best := ""
		if b, ok := st.Best(); ok {
			best = quantity.Hundredths(b.Values[runs.Top1])
		}
		rows = append(rows, append(row, epochs, value(st.Last, runs.Loss, "%.4f"), value(st.Last, runs.Top1, "%.2f"), best,
			slope(st), value(st.Last, runs.Speed, "%.0f"), remaining(st)))
	}
	columns := []components.Column{
		{Title: "stage"}, {Title: "state", Drop: 3}, {Title: "progress"}, {Title: "epoch", Right: true}, {Title: "loss", Right: true},
		{Title: "top-1", Right: true}, {Title: "best", Right: true, Drop: 2}, {Title: "slope", Right: true, Drop: 4},
		{Title: "img/s", Right: true, Drop: 5}, {Title: "left", Right: true, Drop: 1},
	}
	return components.Table(t, columns, rows, p.list.Selected-from, w)
}

func value(v runs.Values, name, format string) string {
	x, ok := v[name]
	if !ok {
		return ""
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Sprint(x)
	}
	return fmt.Sprintf(format, x)
}

// slopeOver is the number of evaluations over which a slope is computed.
const slopeOver = 5

// slope returns the change in accuracy per epoch over the last evaluations.
func slope(st *runs.StageState) string {
	var points []runs.Point
	for _, p := range st.Points {
		if _, ok := p.Values[runs.Top1]; ok {
			points = append(points, p)
		}
	}
	if len(points) < 2 {
		return ""
	}
	a, b := points[max(0, len(points)-1-slopeOver)], points[len(points)-1]
	return fmt.Sprintf("%+.2f", (b.Values[runs.Top1]-a.Values[runs.Top1])/float64(b.Epoch-a.Epoch))
}

// remaining returns an estimate of the remaining time of a running stage, once enough of it
// is done, or the time that a stage has taken.
func remaining(st *runs.StageState) string {
	const minProgress = 0.03
	part := st.Progress()
	if st.Phase != runs.Running || part < minProgress || st.Elapsed < 2 {
		if st.Phase == runs.Finished && !st.Unrecorded {
			return "in " + quantity.Duration(st.Elapsed)
		}
		return ""
	}
	return quantity.Duration(st.Elapsed * (1 - part) / part)
}

func (p *Dashboard) chartPanel(w, h int) string {
	t := p.env.Theme
	iw, ih := components.InnerSize(w, h)
	series := p.curves()
	focus := -1
	for i, s := range series {
		if p.list.Selected < len(p.snap.State.Stages) && s.Name == p.snap.State.Stages[p.list.Selected].Name {
			focus = i
		}
	}
	title := p.plot.title() + "; " + groupNames[p.group]
	if p.plot.table {
		return components.Panel(t, title, strings.Join(numbers(t, series, xAxes[p.plot.axis], iw, ih), "\n"), w, h)
	}
	return components.Panel(t, title, charts.Render(series, p.plot.options(t, series, iw, ih, focus)), w, h)
}

// numbers returns the curves as a table, with the latest values at the bottom.
func numbers(t *theme.Theme, series []charts.Series, axis string, w, h int) []string {
	columns := []components.Column{{Title: axis, Right: true}}
	for i, s := range series {
		columns = append(columns, components.Column{Title: s.Name, Right: true, Drop: len(series) - i})
	}
	var rows [][]string
	stops := charts.Xs(series)
	for _, x := range stops[max(0, len(stops)-h+1):] {
		row := []string{fmt.Sprintf("%.6g", x)}
		for _, s := range series {
			i, found := slices.BinarySearchFunc(s.Points, x, func(p charts.Point, x float64) int { return cmp.Compare(p.X, x) })
			if !found {
				row = append(row, "")
				continue
			}
			row = append(row, fmt.Sprintf("%.4g", s.Points[i].Y))
		}
		rows = append(rows, row)
	}
	return components.Table(t, columns, rows, -1, w)
}

// status returns a line about what the run is doing or waiting for, or what went wrong.
func (p *Dashboard) status() string {
	t, s, live := p.env.Theme, p.snap.State, p.snap.Live
	line := func() string {
		switch {
		case p.snap.Err != nil:
			return t.Bad.Render(p.snap.Err.Error())
		case p.busy != "":
			return t.Accent.Render(p.busy + ": waiting for a reply from the run")
		case p.snap.Reading:
			return t.Accent.Render(fmt.Sprintf("reading the events so far: %d", p.snap.Events))
		case live.Alive == runs.IsCrashed:
			return t.Bad.Render(t.Failed + " crashed: the process ended without a final status; r resumes from the last checkpoint")
		case live.Alive == runs.IsStalled:
			return t.Warn.Render(fmt.Sprintf("%s %s: process %d on %s sends no heartbeat", t.Stopped, live, live.Status.PID, live.Status.Host))
		case p.paused():
			return t.Warn.Render(t.Stopped + " paused: the process is idle and keeps its memory; p continues")
		case live.Status.Phase == runs.Queued:
			return t.Warn.Render(t.Waiting + " queued: waiting for this machine to be free")
		case live.Alive == runs.IsAway:
			return t.Warn.Render(t.Waiting + " submitted: " + p.jobStatus())
		case s.Phase != runs.Failed && live.Alive == runs.IsFinished && live.Status.Phase == runs.Failed: // its jobs have failed, according to Slurm
			return t.Bad.Render(t.Failed + " failed: " + cmp.Or(live.Status.Message, s.Message))
		case s.Phase == runs.Failed:
			return t.Bad.Render(t.Failed + " failed: " + cmp.Or(s.Message, live.Status.Message))
		case s.Phase == runs.Stopped || live.Alive == runs.IsFinished && live.Status.Phase == runs.Stopped:
			return t.Warn.Render(t.Stopped + " interrupted: " + s.Message + "; r resumes")
		case s.Phase == runs.Finished:
			return t.Good.Render(t.Done + " done" + duration(s) + p.outcome())
		}
		return p.activity()
	}()
	if p.snap.Skipped > 0 {
		line += t.Warn.Render(fmt.Sprintf("  (%d unreadable event lines skipped)", p.snap.Skipped))
	}
	return components.Cut(t, line, p.w)
}

// jobStatus returns the location of the stage that the user selected, otherwise of the first
// stage that does not wait for other stages.
func (p *Dashboard) jobStatus() string {
	if location := p.selectedLocation(); location != "" {
		return location
	}
	for _, st := range p.snap.State.Stages {
		if loc := p.snap.Locations[st.Name]; loc.Text != "" && !loc.Dependent {
			return st.Name + " is " + loc.String()
		}
	}
	return "waiting for Slurm to report on its jobs"
}

// selectedLocation returns the location of the stage that the user selected. It returns ""
// if the user did not select one, or if the stage has no process of its own.
func (p *Dashboard) selectedLocation() string {
	stages := p.snap.State.Stages
	if !p.moved || p.list.Selected >= len(stages) {
		return ""
	}
	loc := p.snap.Locations[stages[p.list.Selected].Name]
	if loc.Text == "" {
		return ""
	}
	return stages[p.list.Selected].Name + " is " + loc.String()
}

// activity returns what a run without problems is doing.
func (p *Dashboard) activity() string {
	t, s := p.env.Theme, p.snap.State
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Phase != runs.Running {
			continue
		}
		switch {
		case p.snap.Live.Status.Message != "":
			return t.Accent.Render(st.Name + ": " + p.snap.Live.Status.Message)
		case st.Step == 0:
			return t.Accent.Render(st.Name + ": preparing its network and data, before the first step")
		case len(st.Points) == 0:
			return t.Accent.Render(fmt.Sprintf("%s: step %d of its first epoch; the curve begins after it", st.Name, st.Step))
		}
		text := "run " + quantity.Percent(100*s.Progress())
		if eta, ok := s.ETA(s.Updated); ok && s.Progress() > 0.02 {
			text += ", about " + quantity.Duration(eta.Seconds()) + " left"
		}
		if location := p.selectedLocation(); location != "" { // a narrow table has no column for it
			text = location + "; " + text
		}
		if n := len(s.Warnings); n > 0 {
			return t.Warn.Render(text + "; warning: " + s.Warnings[n-1].Message)
		}
		return t.Accent.Render(text)
	}
	if message := p.snap.Live.Status.Message; message != "" {
		return t.Accent.Render(message)
	}
	if s.Attempts == 0 {
		return t.Accent.Render("waiting for the process to start")
	}
	return t.Accent.Render("waiting for the next stage to start: preparing data and networks")
}

// duration returns the time of a run, for the end of a sentence.
func duration(s *runs.State) string {
	if s.Unrecorded() {
		return ", time unknown"
	}
	return " in " + quantity.Duration(s.Elapsed)
}

func (p *Dashboard) outcome() string {
	var parts []string
	for _, r := range p.snap.State.Results {
		if v, ok := r.Values[runs.Top1]; ok {
			parts = append(parts, r.Method+" "+quantity.Accuracy(v))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// side returns the text next to the chart: the process and the results.
func (p *Dashboard) side(w int) []string {
	t, s, live := p.env.Theme, p.snap.State, p.snap.Live
	var lines []string
	put := func(name, text string) {
		if text != "" {
			lines = append(lines, t.Dim.Render(fmt.Sprintf("%-9s", name))+components.Cut(t, text, w-9))
		}
	}
	put("state", live.String())
	put("done", quantity.Percent(100*s.Progress())+duration(s))
	if eta, ok := s.ETA(s.Updated); ok && s.Progress() > 0.02 {
		put("left", "about "+quantity.Duration(eta.Seconds()))
	}
	if s.Attempts > 1 {
		put("attempts", fmt.Sprint(s.Attempts))
	}
	if p.snap.Slurm { // it has many processes, on other machines
		put("stages", watch.Tally(p.snap.Locations))
	} else {
		put("host", live.Status.Host)
		put("process", fmt.Sprintf("%d since %s", live.Status.PID, live.Status.Started.Local().Format("Jan 2 15:04")))
	}
	if c := p.config; c != nil {
		put("model", fmt.Sprintf("%d blocks in K = %d", c.Model.Depth, c.Modules.K))
		put("data", c.Data.Name)
	}
	if speed := p.speed(); speed > 0 {
		put("images/s", fmt.Sprintf("%.0f", speed))
	}
	if u := p.snap.Usage; u.Memory > 0 {
		put("memory", quantity.Bytes(u.Memory))
		if u.Cores > 0 {
			put("busy", fmt.Sprintf("%.1f cores", u.Cores))
		}
	}
	put("events", fmt.Sprint(p.snap.Events))
	if n := len(s.Warnings); n > 0 {
		put("warnings", fmt.Sprint(n))
	}
	return append(lines, p.results(w)...)
}

// speed returns the speed of the running stages, which all train on the same images.
func (p *Dashboard) speed() float64 {
	fastest := 0.0
	for _, st := range p.snap.State.Stages {
		if v := st.Last.Get(runs.Speed); st.Phase == runs.Running && v > fastest {
			fastest = v
		}
	}
	return fastest
}

// results returns a table of the results here and in the paper.
func (p *Dashboard) results(w int) []string {
	t := p.env.Theme
	here := map[string]string{}
	for _, st := range p.snap.State.Stages {
		if v, ok := st.Last[runs.Top1]; ok && st.Target && st.Recipe != "" {
			here[st.Method] = quantity.Hundredths(v)
		}
	}
	for _, r := range p.snap.State.Results {
		if v, ok := r.Values[runs.Top1]; ok {
			here[r.Method] = quantity.Hundredths(v)
		}
	}
	if p.config == nil || len(here)+len(p.config.Paper) == 0 {
		return nil
	}
	var rows [][]string
	for _, m := range p.config.Run.Methods {
		paper := ""
		for _, r := range p.config.Paper {
			if r.Method == m && r.Metric == "top1" {
				paper = fmt.Sprintf("%g", r.Value)
			}
		}
		rows = append(rows, []string{m, here[m], paper})
	}
	return append([]string{""}, components.Table(t, []components.Column{{Title: "top-1, %"}, {Title: "here", Right: true}, {Title: "paper", Right: true}}, rows, -1, w)...)
}
