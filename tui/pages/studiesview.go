package pages

import (
	"fmt"
	"strings"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/components"
	"hatchery/tui/layout"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// View draws the list and the details of the selected study.
func (p *Studies) View() string {
	t := p.env.Theme
	s := layout.NewSplit(p.w, p.h, presetsSide)
	w, h := components.InnerSize(s.Main.W, s.Main.H)
	title := "studies"
	if p.filter.Active() || p.filter.Text() != "" {
		title += "  " + p.filter.View(t)
	}
	var lines []string
	switch {
	case p.err != nil:
		lines = components.Wrap(t.Bad.Render(p.err.Error()), w)
	case !p.read:
		lines = []string{t.Dim.Render("reading the folder")}
	default:
		lines = p.lines(w, h)
	}
	view := components.Panel(t, title, strings.Join(lines, "\n"), s.Main.W, s.Main.H)
	if s.Side.Empty() {
		return view
	}
	iw, ih := components.InnerSize(s.Side.W, s.Side.H)
	title, lines = p.side(iw)
	top := max(0, min(p.top, len(lines)-ih))
	lines = lines[top:min(len(lines), top+ih)]
	side := components.Panel(t, title, strings.Join(lines, "\n"), s.Side.W, s.Side.H)
	if s.Side.Y > 0 {
		return view + "\n" + side
	}
	return components.JoinHorizontal(view, side)
}

// lines draws the tables of both groups, cut to h lines that contain the cursor.
func (p *Studies) lines(w, h int) []string {
	t := p.env.Theme
	var started, all [][]string
	for _, i := range p.shown {
		if e := i.started; e != nil {
			state, done, created := t.Bad.Render("cannot be read"), "", ""
			if e.Study != nil {
				state = glyph(t, e.Phase) + " " + string(e.Phase)
				done = fmt.Sprintf("%d of %d", e.Done(), len(e.Cells))
				created = e.Study.Created.Local().Format("Jan 02 15:04")
			}
			started = append(started, []string{e.ID, state, done, created})
			continue
		}
		small := ""
		if i.definition.Small != nil {
			small = fmt.Sprint(len(i.definition.Small.Cells(nil)))
		}
		source, _, _ := strings.Cut(i.definition.Source, ",")
		all = append(all, []string{i.id(), source, fmt.Sprint(len(i.definition.Cells(nil))), small, i.definition.Title})
	}
	var lines []string
	line := 0 // of the cursor
	if len(started) > 0 {
		lines = components.Table(t, []components.Column{{Title: "started study", MinWidth: 26}, {Title: "state"}, {Title: "cells", Right: true}, {Title: "started", Drop: 1}}, started, p.list.Selected, w)
		line = 1 + p.list.Selected
	}
	if len(all) > 0 {
		if len(started) > 0 {
			lines = append(lines, "")
		}
		if p.list.Selected >= len(started) {
			line = len(lines) + 1 + p.list.Selected - len(started)
		}
		columns := []components.Column{{Title: "study"}, {Title: "paper"}, {Title: "cells", Right: true}, {Title: "small", Right: true, Drop: 1}, {Title: "title", MinWidth: 10, Drop: 2}}
		lines = append(lines, components.Table(t, columns, all, p.list.Selected-len(started), w)...)
	}
	if len(lines) == 0 {
		return []string{t.Dim.Render("no study matches the filter")}
	}
	return window(lines, line, h)
}

// side returns the text next to the list: an overview of the selected study, or its file.
func (p *Studies) side(w int) (title string, lines []string) {
	i := p.selected()
	if i == nil {
		return "overview", nil
	}
	if !p.file {
		return "overview", p.details(*i, w)
	}
	source := i.source()
	if source == "" {
		return "file", []string{p.env.Theme.Dim.Render("the study is not part of the program")}
	}
	for l := range strings.SplitSeq(source, "\n") {
		lines = append(lines, components.Cut(p.env.Theme, strings.ReplaceAll(l, "\t", "  "), w))
	}
	return "file", lines
}

func (p *Studies) details(i studyItem, w int) []string {
	t, d := p.env.Theme, i.definition
	if d == nil {
		return components.Wrap(t.Bad.Render(i.started.Err.Error()), w)
	}
	lines := components.Wrap(t.Title.Render(d.Title), w)
	put := func(name, value string) {
		for n, l := range components.Wrap(value, w-9) {
			if n > 0 {
				name = ""
			}
			lines = append(lines, t.Dim.Render(fmt.Sprintf("%-9s", name))+l)
		}
	}
	put("paper", d.Source)
	put("measures", d.MeasureTitle()+", against "+d.X)
	if e := i.started; e != nil {
		put("state", fmt.Sprintf("%s, %d of %d cells", e.Phase, e.Done(), len(e.Cells)))
		for _, text := range e.Study.Options.Differences() {
			put("here", text)
		}
		if e.Err != nil {
			put("problem", t.Bad.Render(e.Err.Error()))
		}
		for _, c := range e.Cells {
			if c.Phase == runs.Running {
				put("now", c.Name+" "+position(c.Run))
			}
		}
	} else {
		lines = append(lines, "", t.Title.Render("cells")+t.Dim.Render(", from "+presetNames(d.Grid)))
		lines = append(lines, p.series(d.Grid, d.Paper, w)...)
		if d.Small != nil {
			lines = append(lines, "", t.Title.Render("small variant")+t.Dim.Render(", from "+presetNames(*d.Small)))
			lines = append(lines, p.series(*d.Small, nil, w)...)
		}
	}
	return append(lines, remarks(t, d, w)...)
}

// series lists the cells of a grid by series, with the paper's numbers.
func (p *Studies) series(g presets.Grid, paper []presets.StudyValue, w int) []string {
	t := p.env.Theme
	var lines []string
	name, text := "", ""
	flush := func() {
		for _, l := range components.Wrap(name+text, w-2) {
			lines = append(lines, "  "+l)
		}
	}
	for _, c := range g.Cells(nil) {
		separator := ", "
		if c.Series != name {
			if name != "" {
				flush()
			}
			name, text, separator = c.Series, "", ": "
		}
		if c.Label != "" {
			text += separator + c.Label
		}
		for _, v := range paper {
			if v.Series == c.Series && v.Point == c.Label {
				text += t.Dim.Render(fmt.Sprintf(" (%g)", v.Value))
			}
		}
	}
	flush()
	return lines
}

// remarks returns the quotations from the paper and the notes of a study.
func remarks(t *theme.Theme, d *presets.Study, w int) []string {
	var lines []string
	if len(d.Says) > 0 {
		lines = append(lines, "", t.Title.Render("the paper says"))
		for _, text := range d.Says {
			lines = append(lines, components.Wrap(text, w)...)
		}
	}
	if d.Notes != "" {
		lines = append(lines, "")
		for _, l := range components.Wrap(d.Notes, w) {
			lines = append(lines, t.Dim.Render(l))
		}
	}
	return lines
}

// position returns the stage and epoch of a run.
func position(e watch.Entry) string {
	text := e.Stage
	if e.Epoch > 0 && e.Stage != "" {
		text += fmt.Sprintf(" epoch %d", e.Epoch)
	}
	return text
}
