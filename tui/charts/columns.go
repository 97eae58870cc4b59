package charts

import (
	"math"
	"slices"
)

// columns returns the lowest and the highest value of a curve in each column of the plot,
// NaN if the curve has none there. Columns between two points are interpolated. Both
// results have one entry more than the plot has columns, because asciigraph draws in each
// column the line to the next one.
func (p *drawing) columns(s curve, width int) (lowest, highest []float64) {
	lowest, highest = make([]float64, width+1), make([]float64, width+1)
	for i := range lowest {
		lowest[i], highest[i] = math.NaN(), math.NaN()
	}
	if s.Level {
		for i := range lowest {
			lowest[i], highest[i] = s.points[0].Y, s.points[0].Y
		}
		return lowest, highest
	}
	previous := -1
	var last float64
	for _, q := range s.points {
		c := p.column(q.X, width)
		if math.IsNaN(lowest[c]) {
			lowest[c], highest[c] = q.Y, q.Y
		} else {
			lowest[c], highest[c] = min(lowest[c], q.Y), max(highest[c], q.Y)
		}
		if previous >= 0 {
			for i := previous + 1; i < c; i++ {
				t := float64(i-previous) / float64(c-previous)
				y := last*(1-t) + q.Y*t
				lowest[i], highest[i] = y, y
			}
		}
		previous, last = c, q.Y
	}
	lowest[width], highest[width] = lowest[width-1], highest[width-1]
	return lowest, highest
}

// Xs returns the distinct X values of all finite points of the series, sorted: the
// positions at which a cursor can stop. Levels have none.
func Xs(series []Series) []float64 {
	var xs []float64
	for _, s := range series {
		if s.Level {
			continue
		}
		for _, q := range s.Points {
			if finite(q.X) && finite(q.Y) {
				xs = append(xs, q.X)
			}
		}
	}
	slices.Sort(xs)
	return slices.Compact(xs)
}

// At returns the value of a series at x: the Y of its last finite point up to x. For a
// level it returns the last finite Y. It returns NaN if there is none.
func (s Series) At(x float64) float64 {
	y := math.NaN()
	for _, q := range s.Points {
		if q.X > x && !s.Level {
			break
		}
		if finite(q.Y) {
			y = q.Y
		}
	}
	return y
}
