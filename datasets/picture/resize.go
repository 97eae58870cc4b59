package picture

import "math"

// Filter is the filter with which a picture is resampled.
type Filter int

const (
	Bicubic  Filter = iota // DeiT's choice
	Bilinear               // torchvision's default
)

// support returns the number of source pixels to each side of its centre that the
// filter uses when a picture is not reduced.
func (f Filter) support() float64 {
	if f == Bilinear {
		return 1
	}
	return 2
}

// weight returns the weight of a source pixel at a distance x from the centre, as in
// PIL's resize: the cubic with a = -1/2 (Keys, 1981), or the triangle. As everywhere in
// this package, floating-point products are rounded one by one, so that machines with a
// fused multiply-add give the same numbers.
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

// Box is a part of a picture, in pixels. Its sides may lie within pixels.
type Box struct{ X0, Y0, X1, Y1 float64 }

// Resizer resizes pictures. It keeps its memory, so that it allocates nothing once it
// has resized the largest picture. It is not safe for concurrent use.
//
// It computes two sums in one register: a word holds two values, 32 bits apart, and
// one multiplication by a weight multiplies both. Sums may be negative, but each fits
// in 32 bits, so both can be extracted from the word (see unpack).
type Resizer struct {
	x, y  axis
	half  []uint64 // the picture resized in width only, two values per word
	pair  []uint64 // two rows of the source, a value of each per word
	bytes []uint8  // two rows of half
	sums  []uint64 // of one row
}

// Resize sets dst to the part of src within a box, resized to width x height pixels, like
// PIL's Image.resize(size, resample, box): the pixels are those of Pillow up to version
// 12, which resizes in width, then in height. If the picture is reduced, the filter is
// widened to use every pixel.
//
// Pillow 13 resizes some tall pictures in height first, for example those more than
// twice as high as wide that keep their shape, and so rounds differently in between: if
// a noisy picture of 300x900 pixels is resized to 256x768, 28 % of its values differ from
// Pillow 12.3, nearly all by 1 of 255 and none by more than 4. A picture of 375x500 gives
// the same in both.
func (r *Resizer) Resize(dst, src *Picture, width, height int, box Box, f Filter) {
	c := src.Channels
	horizontal := width != src.Width || box.X0 != 0 || box.X1 != float64(width)
	vertical := height != src.Height || box.Y0 != 0 || box.Y1 != float64(height)
	if !horizontal && !vertical {
		dst.Reset(width, height, c)
		copy(dst.Pix, src.Pix)
		return
	}
	if horizontal {
		r.x.plan(src.Width, box.X0, box.X1, width, f)
	}
	if !vertical {
		dst.Reset(width, height, c)
		r.resizeWidth(dst.Pix, src, 0, src.Height)
		return
	}
	r.y.plan(src.Height, box.Y0, box.Y1, height, f)
	first, last := r.y.span()
	n := width * c
	words := (n + 1) / 2
	r.half = resized(r.half, (last-first)*words)
	for y := first; y < last; y += 2 {
		var rows []uint8
		if horizontal {
			r.bytes = resized(r.bytes, 2*n)
			rows = r.bytes
			r.resizeWidth(rows, src, y, min(y+2, last))
		} else {
			rows = src.Pix[y*n:]
		}
		for i := range min(2, last-y) {
			pack(r.half[(y-first+i)*words:][:words], rows[i*n:][:n])
		}
	}
	dst.Reset(width, height, c)
	r.resizeHeight(dst, first, words)
}

// resizeWidth resizes rows first to last-1 of src in width.
func (r *Resizer) resizeWidth(dst []uint8, src *Picture, first, last int) {
	c := src.Channels
	n, m := src.Width*c, len(r.x.from)*c
	r.pair = resized(r.pair, n)
	for y := first; y < last; y += 2 {
		a := src.Pix[y*n:][:n]
		b := a // the last of an odd number of rows is its own partner
		if y+1 < last {
			b = src.Pix[(y+1)*n:][:n]
		}
		pair := r.pair
		for i, v := range a {
			pair[i] = uint64(v) | uint64(b[i])<<32
		}
		out := dst[(y-first)*m:]
		other := out[:m]
		if y+1 < last {
			other = out[m:][:m]
		}
		r.x.rows(other, out[:m], pair, c)
	}
}

// pack writes two values into each word.
func pack(dst []uint64, src []uint8) {
	for i := range len(src) / 2 {
		v := src[2*i:][:2]
		dst[i] = uint64(v[0]) | uint64(v[1])<<32
	}
	if n := len(src); n%2 == 1 {
		dst[n/2] = uint64(src[n-1])
	}
}

// unpack returns the two sums of a word as pixels.
func unpack(sums uint64) (uint8, uint8) {
	low := int32(sums)
	high := int32((sums - uint64(int64(low))) >> 32)
	return clip8(low), clip8(high)
}

// axis holds the weights for one direction: pixel i is the sum of
// weights[i*reach+j] * source[from[i]+j] for j < taps[i].
type axis struct {
	reach      int
	from, taps []int
	weights    []int32 // in units of 1/unit
	exact      []float64
}

// unit is the resolution of the weights, as in PIL. Sums of pixels times weights then
// fit in 32 bits.
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

// span returns the range of source pixels that are needed.
func (a *axis) span() (first, last int) {
	n := len(a.from) - 1
	return a.from[0], a.from[n] + a.taps[n]
}

// halves are the initial values of two sums, for rounding.
const halves = unit/2 | unit/2<<32

// rows writes two rows of pixels of c channels, high and low, which may be the same. Each
// word of src has a value of both source rows.
func (a *axis) rows(high, low []uint8, src []uint64, c int) {
	for i, from := range a.from {
		weights := a.weights[i*a.reach:][:a.taps[i]]
		in := src[from*c:][:len(weights)*c]
		if c == 3 {
			s0, s1, s2 := uint64(halves), uint64(halves), uint64(halves)
			for _, w := range weights {
				p, w := in[:3], uint64(int64(w))
				s0 += p[0] * w
				s1 += p[1] * w
				s2 += p[2] * w
				in = in[3:]
			}
			h, l := high[i*3:][:3], low[i*3:][:3]
			l[0], h[0] = unpack(s0)
			l[1], h[1] = unpack(s1)
			l[2], h[2] = unpack(s2)
			continue
		}
		for k := range c {
			sum := uint64(halves)
			for j, w := range weights {
				sum += in[j*c+k] * uint64(int64(w))
			}
			low[i*c+k], high[i*c+k] = unpack(sum)
		}
	}
}

// resizeHeight computes the rows of dst from those of half, which have the given number
// of words. The first row of half is row first of the source.
func (r *Resizer) resizeHeight(dst *Picture, first, words int) {
	n := dst.Width * dst.Channels
	r.sums = resized(r.sums, words)
	sums := r.sums
	for i, from := range r.y.from {
		for k := range sums {
			sums[k] = halves
		}
		weights, in := r.y.weights[i*r.y.reach:][:r.y.taps[i]], r.half[(from-first)*words:]
		for ; len(weights) >= 4; weights = weights[4:] { // fewer passes over sums
			w0, w1, w2, w3 := uint64(int64(weights[0])), uint64(int64(weights[1])), uint64(int64(weights[2])), uint64(int64(weights[3]))
			a, b, c, d := in[:len(sums)], in[words:][:len(sums)], in[2*words:][:len(sums)], in[3*words:][:len(sums)]
			for k := range sums {
				sums[k] += a[k]*w0 + b[k]*w1 + c[k]*w2 + d[k]*w3
			}
			in = in[4*words:]
		}
		for j, w := range weights {
			for k, v := range in[j*words:][:len(sums)] {
				sums[k] += v * uint64(int64(w))
			}
		}
		out := dst.Pix[i*n:][:n]
		for k, s := range sums[:n/2] {
			o := out[2*k:][:2]
			o[0], o[1] = unpack(s)
		}
		if n%2 == 1 {
			out[n-1], _ = unpack(sums[n/2])
		}
	}
}

// clip8 returns a sum of pixels times weights as a pixel.
func clip8(sum int32) uint8 { return uint8(max(0, min(255, sum>>unitBits))) }

// resized returns a slice of n elements, in the memory of s if that is large enough.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
