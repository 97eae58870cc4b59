package datasets

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"hatchery/engine/random"
)

// Mix describes the mixing of the images of a group: image i of n is mixed with
// image n-1-i, so the partners are the group in reverse order (timm's Mixup in batch
// mode, for the group). In a group of odd size the image in the middle is its own
// partner and does not change.
type Mix struct {
	// Weights of an image's own target and of its partner's; 1 and 0 if the group
	// is not mixed. Each is rounded from a draw in double precision, as in timm.
	Lambda, Rest float32

	// With Cut, CutMix: the pixels y0 <= y < y1, x0 <= x < x1 come from the partner.
	// Otherwise mixup: every pixel is Lambda*own + Rest*partner.
	Cut            bool
	Y0, Y1, X0, X1 int
}

// unmixed is the Mix of a group that is not mixed.
var unmixed = Mix{Lambda: 1}

// partner returns the row that a row of a batch is mixed with. The batch has n rows in
// groups of the given size; the last group may be smaller.
func partner(row, n, group int) int {
	first := row - row%group
	return first + min(first+group, n) - 1 - row
}

// pairs returns the number of pairs of partners in a batch of n rows. A row that is its
// own partner counts as a pair.
func pairs(n, group int) int { return n/group*((group+1)/2) + (n%group+1)/2 }

// pair returns the i-th pair of partners of a batch.
func pair(i, n, group int) (row, other int) {
	each := (group + 1) / 2
	row = i/each*group + i%each
	return row, partner(row, n, group)
}

// drawMix draws the Mix of a group of images of the given size.
func (a *Augment) drawMix(s *random.Stream, h, w int) Mix {
	if a.Mixup == 0 && a.CutMix == 0 || s.Float64() >= a.MixProb {
		return unmixed
	}
	cut := a.CutMix > 0
	if cut && a.Mixup > 0 {
		cut = s.Float64() < a.SwitchProb
	}
	alpha := a.Mixup
	if cut {
		alpha = a.CutMix
	}
	lambda := distuv.Beta{Alpha: alpha, Beta: alpha, Src: s.Source()}.Rand()
	switch {
	case math.IsNaN(lambda):
		// Both of its gamma variates underflowed: alpha is so small that lambda
		// is 0 or 1, and mixing would only permute the images of the group.
		return unmixed
	case cut:
		return cutMix(h, w, lambda, s.IntN(h), s.IntN(w))
	}
	return mixup(lambda)
}

func mixup(lambda float64) Mix { return Mix{Lambda: float32(lambda), Rest: float32(1 - lambda)} }

// cutMix returns a box with its centre at (y, x) and 1-lambda of the image's area,
// clipped to the image, and corrects lambda for the clipping. A box with an odd side
// has its extra pixel below and to the right of the centre, as in rand_bbox of timm
// 1.x. timm 0.3.2, which DeiT and the paper's official code use, drops that pixel, so
// that such boxes are one pixel smaller.
func cutMix(h, w int, lambda float64, y, x int) Mix {
	ratio := math.Sqrt(1 - lambda)
	ch, cw := int(float64(h)*ratio), int(float64(w)*ratio)
	y0, y1 := max(0, y-ch/2), min(h, y+(ch+1)/2)
	x0, x1 := max(0, x-cw/2), min(w, x+(cw+1)/2)
	m := mixup(1 - float64((y1-y0)*(x1-x0))/float64(h*w))
	m.Cut, m.Y0, m.Y1, m.X0, m.X1 = true, y0, y1, x0, x1
	return m
}

// images mixes two images, planes of h x w, with each other.
func (m Mix) images(a, b []float32, h, w int) {
	switch {
	case m.Rest == 0: // not mixed, or the box is empty
	case m.Cut:
		m.swap(a, b, h, w)
	default:
		m.blend(a, b)
	}
}

func (m Mix) blend(a, b []float32) {
	b = b[:len(a)]
	for i, x := range a {
		y := b[i]
		// Each product is rounded, so that machines with a fused multiply-add
		// give the same numbers.
		a[i] = float32(x*m.Lambda) + float32(y*m.Rest)
		b[i] = float32(y*m.Lambda) + float32(x*m.Rest)
	}
}

func (m Mix) swap(a, b []float32, h, w int) {
	for plane := 0; plane < len(a); plane += h * w {
		for y := m.Y0; y < m.Y1; y++ {
			row := plane + y*w
			ra, rb := a[row+m.X0:row+m.X1], b[row+m.X0:row+m.X1]
			for i := range ra {
				ra[i], rb[i] = rb[i], ra[i]
			}
		}
	}
}

// target writes the soft target of an image: the smoothed one-hot rows of its label
// and its partner's, mixed like the images (timm's mixup_target).
func (m Mix) target(row []float32, label, partner int32, smoothing float64) {
	off := float32(smoothing / float64(len(row)))
	on := float32(1 - smoothing + smoothing/float64(len(row)))
	l, r := m.Lambda, m.Rest
	neither := float32(off*l) + float32(off*r)
	for i := range row {
		row[i] = neither
	}
	if label == partner {
		row[label] = float32(on*l) + float32(on*r)
	} else {
		row[label], row[partner] = float32(on*l)+float32(off*r), float32(off*l)+float32(on*r)
	}
}
