package charts

import (
	"math"
	"slices"
)

// columns puts a curve on the columns of the plot: the least and the greatest
// value of each, NaN where the curve is not. Between two points the values
// lie on the line. Both have one entry more than there are columns, since
// asciigraph draws, in each column, the way to the next one.
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

// Xs lists the places at which any of the series has a finite value, by rising
// X: the stops of a cursor.
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

// At returns the value that a series has at x: its last one up to there, NaN
// before its first.
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
