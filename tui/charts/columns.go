package charts

import (
	"math"
	"slices"
)

// columns returns the least and the greatest value of a curve in each column of the plot,
// NaN where the curve has none. Columns between two points are interpolated. Both results
// have one entry more than there are columns, since asciigraph draws in each column the
// line to the next one.
func (p *picture) columns(s curve, width int) (least, most []float64) {
	least, most = make([]float64, width+1), make([]float64, width+1)
	for i := range least {
		least[i], most[i] = math.NaN(), math.NaN()
	}
	if s.Level {
		for i := range least {
			least[i], most[i] = s.points[0].Y, s.points[0].Y
		}
		return least, most
	}
	before := -1
	var last float64
	for _, q := range s.points {
		c := p.column(q.X, width)
		if math.IsNaN(least[c]) {
			least[c], most[c] = q.Y, q.Y
		} else {
			least[c], most[c] = min(least[c], q.Y), max(most[c], q.Y)
		}
		if before >= 0 {
			for i := before + 1; i < c; i++ {
				t := float64(i-before) / float64(c-before)
				y := last*(1-t) + q.Y*t
				least[i], most[i] = y, y
			}
		}
		before, last = c, q.Y
	}
	least[width], most[width] = least[width-1], most[width-1]
	return least, most
}

// Xs returns the sorted X of all finite points of the series, without repetitions: where
// a cursor can stop. Levels have none.
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

// At returns the value of a series at x: the Y of its last finite point up to x, or of a
// level its last finite Y. It is NaN if there is none.
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
