package picture

import "math"

// Filter is how a picture is sampled between its pixels.
type Filter int

const (
	Bicubic  Filter = iota // DeiT's choice
	Bilinear               // torchvision's default
)

// support is how many source pixels the filter reaches to each side of its
// centre when a picture is not made smaller.
func (f Filter) support() float64 {
	if f == Bilinear {
		return 1
	}
	return 2
}

// weight of a source pixel at a distance x from the centre, as PIL's resize has
// it: the cubic with a = -1/2 (Keys, 1981), or the triangle. The products are
// rounded one by one, which keeps machines with a fused multiply-add from giving
// other numbers; so it is wherever this package computes in floating point.
func (f Filter) weight(x float64) float64 {
	x = math.Abs(x)
	switch {
	case f == Bilinear:
		return max(0, 1-x)
	case x < 1:
		return float64(float64((float64(1.5*x)-2.5)*x)*x) + 1
	case x < 2:
		return (float64((float64((x-5)*x)+8)*x) - 4) * -0.5
	}
	return 0
}

// Box is a part of a picture in pixels, which it may cut.
type Box struct{ X0, Y0, X1, Y1 float64 }

// Resizer resizes pictures. It keeps the memory that it needs, so that it
// allocates nothing once it has seen a picture of the largest size. It is not
// safe for concurrent use.
type Resizer struct {
	x, y axis
	half Picture // resized in width only
	sums []int32 // of one row
}

// Resize makes dst the part of src within a box, width x height pixels large, by
// PIL's Image.resize(size, resample, box): the same pixels. Where the picture is
// made smaller, the filter is widened to see every pixel.
func (r *Resizer) Resize(dst, src *Picture, width, height int, box Box, f Filter) {
	c := src.Channels
	across := width != src.Width || box.X0 != 0 || box.X1 != float64(width)
	down := height != src.Height || box.Y0 != 0 || box.Y1 != float64(height)
	if !across && !down {
		dst.Reset(width, height, c)
		copy(dst.Pix, src.Pix)
		return
	}
	r.y.plan(src.Height, box.Y0, box.Y1, height, f)
	first, last := 0, src.Height // the rows that the second pass reads
	if down {
		first, last = r.y.span()
	}
	half := src
	if across {
		r.x.plan(src.Width, box.X0, box.X1, width, f)
		half = &r.half
		if !down {
			half = dst
		}
		half.Reset(width, last-first, c)
		for y := first; y < last; y++ {
			r.x.row(half.Pix[(y-first)*width*c:][:width*c], src.Pix[y*src.Width*c:][:src.Width*c], c)
		}
	} else {
		first = 0
	}
	if down {
		dst.Reset(width, height, c)
		r.columns(dst, half, first)
	}
}

// axis is how the pixels of one direction are made from source pixels: number i
// is the sum of weights[i*reach+j] * source[from[i]+j] for j < taps[i].
type axis struct {
	reach      int
	from, taps []int
	weights    []int32 // in units of 1/unit
	exact      []float64
}

// unit is the resolution of the weights, PIL's. Sums of pixels times weights
// then fit 32 bits.
const (
	unitBits = 32 - 8 - 2
	unit     = 1 << unitBits
)

func (a *axis) plan(size int, in0, in1 float64, out int, f Filter) {
	scale := float64(float32(in1)-float32(in0)) / float64(out) // PIL keeps boxes in single precision
	wide := max(1, scale)
	support := f.support() * wide
	a.reach = int(math.Ceil(support))*2 + 1
	a.from, a.taps = resized(a.from, out), resized(a.taps, out)
	a.weights, a.exact = resized(a.weights, out*a.reach), resized(a.exact, a.reach)
	narrow := 1 / wide
	for i := range out {
		centre := float64(float32(in0)) + float64((float64(i)+0.5)*scale)
		from := max(0, int(centre-support+0.5))
		taps := min(size, int(centre+support+0.5)) - from
		sum := 0.0
		exact := a.exact[:taps]
		for j := range exact {
			exact[j] = f.weight((float64(j+from) - centre + 0.5) * narrow)
			sum += exact[j]
		}
		weights := a.weights[i*a.reach:][:taps]
		for j, w := range exact {
			if sum != 0 {
				w /= sum
			}
			weights[j] = int32(float64(w*unit) + math.Copysign(0.5, w))
		}
		a.from[i], a.taps[i] = from, taps
	}
}

// span is the range of source pixels that are needed.
func (a *axis) span() (first, last int) {
	n := len(a.from) - 1
	return a.from[0], a.from[n] + a.taps[n]
}

// row makes one row of pixels of c channels from another.
func (a *axis) row(dst, src []uint8, c int) {
	for i, from := range a.from {
		weights := a.weights[i*a.reach:][:a.taps[i]]
		if c == 3 {
			in := src[from*3:][:len(weights)*3]
			s0, s1, s2 := int32(unit/2), int32(unit/2), int32(unit/2)
			for j, w := range weights {
				p := in[j*3:][:3]
				s0 += int32(p[0]) * w
				s1 += int32(p[1]) * w
				s2 += int32(p[2]) * w
			}
			out := dst[i*3:][:3]
			out[0], out[1], out[2] = clip8(s0), clip8(s1), clip8(s2)
			continue
		}
		for k := range c {
			sum := int32(unit / 2)
			for j, w := range weights {
				sum += int32(src[(from+j)*c+k]) * w
			}
			dst[i*c+k] = clip8(sum)
		}
	}
}

// columns makes the rows of dst from rows of src, whose first is row number
// `first` of what the axis was planned for.
func (r *Resizer) columns(dst, src *Picture, first int) {
	n := dst.Width * dst.Channels
	r.sums = resized(r.sums, n)
	sums := r.sums
	for i, from := range r.y.from {
		for k := range sums {
			sums[k] = unit / 2
		}
		for j, w := range r.y.weights[i*r.y.reach:][:r.y.taps[i]] {
			in := src.Pix[(from-first+j)*n:][:len(sums)]
			for k, v := range in {
				sums[k] += int32(v) * w
			}
		}
		out := dst.Pix[i*n:][:len(sums)]
		for k, s := range sums {
			out[k] = clip8(s)
		}
	}
}

// clip8 is a sum of pixels times weights as a pixel.
func clip8(sum int32) uint8 { return uint8(max(0, min(255, sum>>unitBits))) }

// resized is s with n elements, in the same memory if that is enough.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
