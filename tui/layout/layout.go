// Package layout divides the screen into parts. Its functions depend only on the size of
// the screen and on how much there is to show.
package layout

import "fmt"

// The sizes at which the screen changes.
const (
	SideWidth = 36 // width of the panel next to the curves

	MinWidth, MinHeight     = 60, 16  // on a smaller screen nothing is drawn and keys are ignored
	ChartWidth, ChartHeight = 70, 20  // from this size on, curves are below the rows
	FullWidth, FullHeight   = 100, 30 // from this size on, panels are side by side
)

// Rect is a part of the screen, in cells. X and Y count from the top left.
type Rect struct{ X, Y, W, H int }

// Empty reports whether the part is not shown.
func (r Rect) Empty() bool { return r.W <= 0 || r.H <= 0 }

// TooSmall returns a message with the size of the screen and the size that is needed, or
// "" if the screen is large enough.
func TooSmall(width, height int) string {
	if width >= MinWidth && height >= MinHeight {
		return ""
	}
	return fmt.Sprintf("screen %dx%d, need %dx%d", width, height, MinWidth, MinHeight)
}

// Frame holds the parts that every page has.
type Frame struct{ Header, Body, Footer Rect }

// NewFrame lays out a screen.
func NewFrame(width, height int) Frame {
	return Frame{
		Header: Rect{0, 0, width, 1},
		Body:   Rect{0, 1, width, max(0, height-2)},
		Footer: Rect{0, height - 1, width, 1},
	}
}

// Split holds the two panels of a body, which are side by side if it is wide enough.
type Split struct{ Main, Side Rect }

// NewSplit lays out a body with a side panel of sideWidth cells. In a narrow body the
// side panel is below the main one; if the body is also too short, it is empty.
func NewSplit(width, height, sideWidth int) Split {
	switch {
	case width >= FullWidth:
		return Split{Rect{0, 0, width - sideWidth, height}, Rect{width - sideWidth, 0, sideWidth, height}}
	case height >= ChartHeight-2:
		side := height * 2 / 5
		return Split{Rect{0, 0, width, height - side}, Rect{0, height - side, width, side}}
	}
	return Split{Main: Rect{0, 0, width, height}}
}

// Dashboard holds the parts of a run's page.
type Dashboard struct {
	Stages Rect // the line of stages
	Rows   Rect // a row for each stage
	Chart  Rect // curves
	Side   Rect // the process and the results
	GPUs   Rect // the line of GPUs
	Status Rect // what the run is doing or waiting for, and warnings
}

// NewDashboard lays out the page of a run. rows includes the line of titles. The line of
// GPUs is shown only if the curves are.
func NewDashboard(width, height, rows, gpus int) Dashboard {
	d := Dashboard{Stages: Rect{0, 0, width, 1}, Status: Rect{0, height - 1, width, 1}}
	middle := Rect{0, 1, width, height - 2}
	if width < ChartWidth || height < ChartHeight-2 {
		d.Rows = middle
		return d
	}
	if gpus > 0 {
		middle.H--
		d.GPUs = Rect{0, 1 + middle.H, width, 1}
	}
	// The curves get at least half of the remaining height; the rows scroll.
	h := min(rows, middle.H/2)
	d.Rows = Rect{0, 1, width, h}
	d.Chart = Rect{0, 1 + h, width, middle.H - h}
	if width >= FullWidth && height >= FullHeight-2 {
		d.Chart.W -= SideWidth
		d.Side = Rect{d.Chart.W, d.Chart.Y, SideWidth, d.Chart.H}
	}
	return d
}

// Study holds the parts of a study's page.
type Study struct {
	Table Rect // a row for each cell
	Chart Rect
	Side  Rect // description of the study
}

// NewStudy lays out the page of a study.
func NewStudy(width, height, cells int) Study {
	if width < ChartWidth || height < ChartHeight-2 {
		return Study{Table: Rect{0, 0, width, height}}
	}
	// The chart gets at least half; the rows scroll.
	const extra = 3 // the border and the column titles
	h := min(cells+extra, height/2)
	s := Study{Table: Rect{0, 0, width, h}, Chart: Rect{0, h, width, height - h}}
	if width >= FullWidth && height >= FullHeight-2 {
		s.Chart.W -= SideWidth
		s.Side = Rect{s.Chart.W, h, SideWidth, s.Chart.H}
	}
	return s
}
