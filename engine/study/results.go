package study

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Result is the result of a cell, as far as there is one.
type Result struct {
	Cell
	Phase  runs.Phase  // of its run; Waiting before it starts, Failed if the run could not be created, or Missing
	Values runs.Values // results of its method; nil until it is done
	Gains  []float64   // of each module, in percentage points; empty for e2e
	Curve  []Point     // accuracies of the target model; epoch 0 is the assembled model
	Shared []string    // stages that were taken over from other cells
	Paper  *presets.StudyValue
	Err    error // set if the result cannot be read completely

	Crashed        bool   // the process of its run is gone without a last word; Phase is Stopped
	Failure        string // the reason if Phase is Failed or Missing
	DataDifference string // in what the data that it saw are not those of most cells (Results only)

	proportion float64 // see Proportion
}

// Missing is the phase of a cell that has started but whose run does not exist any more.
const Missing runs.Phase = "missing"

// Proportion returns the percentage of the training time that was spent on modules.
func (r Result) Proportion() float64 { return r.proportion }

// Point is a point on a curve. On a training curve, it is an accuracy in percent after an
// epoch; otherwise its coordinates are those of the study's chart.
type Point struct{ X, Y float64 }

// Results reads the results of all cells, in the order of Cells. A result that cannot be read
// has Err set.
func (s *Study) Results(ctx context.Context) []Result {
	var all []Result
	for _, cell := range s.Cells {
		all = append(all, s.Result(ctx, cell))
	}
	s.compareData(all)
	return all
}

// Result reads the result of a cell.
func (s *Study) Result(ctx context.Context, cell Cell) Result {
	r, err := s.result(ctx, cell)
	r.Err = err
	return r
}

func (s *Study) result(ctx context.Context, cell Cell) (Result, error) {
	r := Result{Cell: cell, Phase: runs.Waiting, proportion: math.NaN()}
	if !s.Options.Small { // results of the small variant cannot be compared with the paper's
		for i, p := range s.Definition.Paper {
			if p.Series == cell.Series && p.Point == cell.Label {
				r.Paper = &s.Definition.Paper[i]
			}
		}
	}
	dir := s.RunDir(cell)
	last, err := s.readAttempt(cell)
	if err != nil {
		return r, err
	}
	status, err := runs.ReadStatus(dir)
	if errors.Is(err, fs.ErrNotExist) {
		switch {
		case last.Error != "":
			r.Phase, r.Failure = runs.Failed, last.Error
		case last.Began:
			r.Phase, r.Failure = Missing, fmt.Sprintf("%s was moved or deleted; study resume will train the cell again", dir)
		}
		return r, nil
	} else if err != nil {
		return r, err
	}
	live, err := runs.ReadLiveness(dir, time.Now())
	if err != nil {
		return r, err
	}
	r.Phase = status.Phase
	if live.Alive == runs.IsCrashed {
		r.Phase, r.Crashed = runs.Stopped, true
	}
	switch {
	case last.Error != "" && r.Phase != runs.Finished && last.Time.After(status.Started):
		r.Phase, r.Crashed, r.Failure = runs.Failed, false, last.Error
	case r.Phase == runs.Failed:
		r.Failure = status.Message
	}
	c, err := s.Config(cell)
	if err != nil {
		return r, err
	}
	state, err := runs.ReadState(ctx, dir)
	if err != nil {
		return r, err
	}
	for _, m := range state.Results {
		if m.Method == cell.Method {
			r.Values = m.Values
		}
	}
	var modular, all float64
	for _, stage := range method.Stages(c) {
		o, err := runs.ReadOutcome(dir, stage.Name)
		if err != nil {
			return r, err
		}
		if o == nil {
			continue
		}
		if o.Origin != "" {
			r.Shared = append(r.Shared, stage.Name)
		}
		spent := o.Values[pipeline.TrainSeconds]
		all += spent
		switch {
		case stage.Module > 0:
			modular += spent
			r.Gains = append(r.Gains, o.Values.Get(pipeline.Gain))
		case stage.Target && !stage.Trains():
			r.Curve = append(r.Curve, Point{0, o.Values.Get(runs.Top1)})
		case stage.Target && stage.Image == c.Model.Image:
			st := state.Stage(stage.Name)
			if st == nil {
				return r, fmt.Errorf("stage %s is done, but no event mentions it", stage.Name)
			}
			for _, p := range st.Points {
				if top1, ok := p.Values[runs.Top1]; ok {
					r.Curve = append(r.Curve, Point{float64(p.Epoch), top1})
				}
			}
		}
	}
	if all > 0 {
		r.proportion = 100 * modular / all
	}
	return r, nil
}

// Y returns the value of a result on the y axis of the study (presets.Study.Measure), NaN if
// it is unknown. For gains it is the mean over the modules, for a curve the last value.
func (s *Study) Y(r Result) float64 {
	switch s.Definition.Measure {
	case presets.MeasureAssembled:
		return r.Values.Get(pipeline.Assembled)
	case presets.MeasureGain:
		if len(r.Gains) == 0 || r.Values == nil {
			return math.NaN()
		}
		sum := 0.0
		for _, g := range r.Gains {
			sum += g
		}
		return sum / float64(len(r.Gains))
	}
	return r.Values.Get(runs.Top1)
}

// X returns the value of a result on the x axis of the study, NaN if it is unknown or if the
// result has none.
func (s *Study) X(r Result) float64 {
	switch s.Definition.Against {
	case presets.AgainstHours:
		return r.Values.Get(pipeline.TrainSeconds) / 3600
	case presets.AgainstProportion:
		if r.Values == nil {
			return math.NaN()
		}
		return r.proportion
	}
	if r.Cell.At == nil {
		return math.NaN()
	}
	return *r.Cell.At
}

// Curve is a line of the study's chart.
type Curve struct {
	Name   string
	Points []Point // by increasing X
	Level  bool    // a horizontal line: one value without a position on the x axis
}

// Curves returns the lines of the study's chart. It leaves out points that are not known yet.
func (s *Study) Curves(results []Result) []Curve {
	var curves []Curve
	for _, r := range results {
		name := r.Series
		switch s.Definition.Measure {
		case presets.MeasureCurve:
			if r.Label != "" {
				name += " " + r.Label
			}
			curves = append(curves, Curve{Name: name, Points: r.Curve})
			continue
		case presets.MeasureGain:
			c := Curve{Name: name}
			for i, g := range r.Gains {
				c.Points = append(c.Points, Point{float64(i + 1), g})
			}
			curves = append(curves, c)
			continue
		}
		i := slices.IndexFunc(curves, func(c Curve) bool { return c.Name == name })
		if i < 0 {
			i = len(curves)
			curves = append(curves, Curve{Name: name})
		}
		p := Point{s.X(r), s.Y(r)}
		if math.IsNaN(p.Y) {
			continue
		}
		if math.IsNaN(p.X) {
			curves[i].Level, p.X = true, 0
		}
		curves[i].Points = append(curves[i].Points, p)
	}
	for _, c := range curves {
		slices.SortStableFunc(c.Points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	}
	return curves
}
