package datasets

import (
	"math"

	"hatchery/engine/random"
)

// Erase is a box of one image that is erased after normalisation, the pixels
// y0 <= y < y1, x0 <= x < x1: each value of each channel is replaced by a draw from
// the normal distribution (timm's RandomErasing in pixel mode). The draw of channel c
// at (y, x) of an image of h x w pixels is number (c*h+y)*w+x under Key.
type Erase struct {
	Y0, Y1, X0, X1 int32
	Key            uint64 // 0 if nothing is erased
}

// Fraction of the image's area that the box covers, and the minimum of its height over
// its width, whose inverse is the maximum.
const (
	minErased, maxErased = 0.02, 1. / 3
	eraseAspect          = 0.3
)

// drawErase draws the box to erase of an image of h x w pixels.
func (a *Augment) drawErase(s *random.Stream, h, w int) Erase {
	if s.Float64() >= a.Reprob {
		return Erase{}
	}
	logAspect := math.Log(eraseAspect)
	for range 10 { // boxes that do not fit are drawn again
		area := (minErased + (maxErased-minErased)*s.Float64()) * float64(h*w)
		aspect := math.Exp(logAspect - 2*logAspect*s.Float64())
		eh := int(math.RoundToEven(math.Sqrt(area * aspect)))
		ew := int(math.RoundToEven(math.Sqrt(area / aspect)))
		if eh < h && ew < w {
			y, x := s.IntN(h-eh+1), s.IntN(w-ew+1)
			return Erase{Y0: int32(y), Y1: int32(y + eh), X0: int32(x), X1: int32(x + ew), Key: s.Uint64() | 1}
		}
	}
	return Erase{}
}

// apply erases the box of one normalised image, planes of h x w.
func (e Erase) apply(image []float32, h, w int) {
	if e.Key == 0 {
		return
	}
	x0, x1 := int(e.X0), int(e.X1)
	for plane := 0; plane < len(image); plane += h * w {
		for y := int(e.Y0); y < int(e.Y1); y++ {
			row := plane + y*w
			random.FillNormal(image[row+x0:row+x1], e.Key, uint64(row+x0))
		}
	}
}
