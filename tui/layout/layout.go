// Package layout says which part of the screen holds what: pure functions of
// the size and of what there is to show.
package layout

import "fmt"

// The sizes at which the screen changes.
const (
	SideWidth = 36 // of the panel beside the curves

	LeastWidth, LeastHeight = 60, 16  // below, nothing is drawn and keys are ignored
	ChartWidth, ChartHeight = 70, 20  // curves below the rows
	FullWidth, FullHeight   = 100, 30 // panels side by side
)

// Rect is a part of the screen in cells; X and Y count from the top left.
type Rect struct{ X, Y, W, H int }

// Empty says that a part is not shown.
func (r Rect) Empty() bool { return r.W <= 0 || r.H <= 0 }

// TooSmall says what a screen is and needs, or "" if it is large enough.
func TooSmall(width, height int) string {
	if width >= LeastWidth && height >= LeastHeight {
		return ""
	}
	return fmt.Sprintf("screen %dx%d, need %dx%d", width, height, LeastWidth, LeastHeight)
}

// Frame is the parts that every screen has.
type Frame struct{ Header, Body, Footer Rect }

// NewFrame divides a screen.
func NewFrame(width, height int) Frame {
	return Frame{
		Header: Rect{0, 0, width, 1},
		Body:   Rect{0, 1, width, max(0, height-2)},
		Footer: Rect{0, height - 1, width, 1},
	}
}

// Split is a body of two panels, side by side where the width allows it.
type Split struct{ Main, Side Rect }

// NewSplit gives the side panel sideWidth cells, or where the body is too
// narrow the lower part of it, or where it is too low nothing.
func NewSplit(width, height, sideWidth int) Split {
	switch {
	case width >= FullWidth:
		return Split{Rect{0, 0, width - sideWidth, height}, Rect{width - sideWidth, 0, sideWidth, height}}
	case height >= ChartHeight-2:
		low := height * 2 / 5
		return Split{Rect{0, 0, width, height - low}, Rect{0, height - low, width, low}}
	}
	return Split{Main: Rect{0, 0, width, height}}
}

// Dashboard is the parts of a run's screen.
type Dashboard struct {
	Stages Rect // the line of stages
	Rows   Rect // a row a stage
	Chart  Rect // curves
	Side   Rect // system and results
	GPUs   Rect // how they are
	Wait   Rect // what the run waits for, warnings
}

// NewDashboard lays out a run of so many rows, rows' title included, and of so
// many GPUs, whose line is there only where the curves are.
func NewDashboard(width, height, rows, gpus int) Dashboard {
	d := Dashboard{Stages: Rect{0, 0, width, 1}, Wait: Rect{0, height - 1, width, 1}}
	middle := Rect{0, 1, width, height - 2}
	if width < ChartWidth || height < ChartHeight-2 {
		d.Rows = middle
		return d
	}
	if gpus > 0 {
		middle.H--
		d.GPUs = Rect{0, 1 + middle.H, width, 1}
	}
	// The curves have at least half of what is left, the rows scroll.
	h := min(rows, middle.H/2)
	d.Rows = Rect{0, 1, width, h}
	d.Chart = Rect{0, 1 + h, width, middle.H - h}
	if width >= FullWidth && height >= FullHeight-2 {
		d.Chart.W -= SideWidth
		d.Side = Rect{d.Chart.W, d.Chart.Y, SideWidth, d.Chart.H}
	}
	return d
}

// Study is the parts of a study's screen.
type Study struct {
	Table Rect // a row a cell
	Chart Rect
	Side  Rect // what it is about
}

// NewStudy lays out a study of so many cells.
func NewStudy(width, height, cells int) Study {
	if width < ChartWidth || height < ChartHeight-2 {
		return Study{Table: Rect{0, 0, width, height}}
	}
	// The chart has at least half, the rows scroll.
	const around = 3 // the border and the titles of the columns
	h := min(cells+around, height/2)
	s := Study{Table: Rect{0, 0, width, h}, Chart: Rect{0, h, width, height - h}}
	if width >= FullWidth && height >= FullHeight-2 {
		s.Chart.W -= SideWidth
		s.Side = Rect{s.Chart.W, h, SideWidth, s.Chart.H}
	}
	return s
}
