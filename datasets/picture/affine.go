package picture

import "math"

// Affine sets dst, which gets the size of src, like PIL's Image.transform with AFFINE
// data: the pixel at (x, y) comes from (m[0]x + m[1]y + m[2], m[3]x + m[4]y + m[5]) of
// src. Positions are those of the centres of pixels, measured from the corner of the
// picture. Pixels from outside src get the colour fill. dst must not be src.
//
// PIL's bicubic filter is sharper here than in Resize: it is the cubic with a = -1,
// and its result is truncated to an integer, not rounded.
func Affine(dst, src *Picture, m [6]float64, f Filter, fill []uint8) {
	c := src.Channels
	dst.Reset(src.Width, src.Height, c)
	sample := (*Picture).bicubic
	switch {
	case f == Bilinear:
		sample = (*Picture).bilinear
	case m[3] == 0 && m[4] == 1 && m[5] == 0:
		sample = (*Picture).bicubicX
	case m[0] == 1 && m[1] == 0 && m[2] == 0:
		sample = (*Picture).bicubicY
	}
	w, h := float64(src.Width), float64(src.Height)
	out := dst.Pix
	for y := range src.Height {
		yin := float64(y) + 0.5
		for x := range src.Width {
			xin := float64(x) + 0.5
			xx := float64(m[0]*xin) + float64(m[1]*yin) + m[2]
			yy := float64(m[3]*xin) + float64(m[4]*yin) + m[5]
			if xx < 0 || xx >= w || yy < 0 || yy >= h {
				copy(out[:c], fill)
			} else {
				sample(src, out[:c], xx-0.5, yy-0.5)
			}
			out = out[c:]
		}
	}
}

// Rotate sets dst, which gets the size of src, like PIL's Image.rotate: to src rotated
// counterclockwise by an angle in degrees around its centre.
func Rotate(dst, src *Picture, degrees float64, f Filter, fill []uint8) {
	degrees = math.Mod(degrees, 360)
	if degrees < 0 {
		degrees += 360
	}
	if degrees == 0 {
		dst.Reset(src.Width, src.Height, src.Channels)
		copy(dst.Pix, src.Pix)
		return
	}
	angle := -degrees * (math.Pi / 180)
	const digits = 1e15 // PIL rounds to 15 digits after the point
	cos := math.RoundToEven(math.Cos(angle)*digits) / digits
	sin := math.RoundToEven(math.Sin(angle)*digits) / digits
	x, y := float64(src.Width)/2, float64(src.Height)/2
	Affine(dst, src, [6]float64{
		cos, sin, float64(cos*-x) + float64(sin*-y) + x,
		-sin, cos, float64(-sin*-x) + float64(cos*-y) + y,
	}, f, fill)
}

// bicubic writes the pixel at (x, y), where (0, 0) is the centre of the first
// pixel and both are at least -1/2.
func (p *Picture) bicubic(out []uint8, x, y float64) {
	x0, y0 := floor(x), floor(y)
	dx, dy := x-float64(x0), y-float64(y0)
	if c := p.Channels; x0 > 0 && x0+2 < p.Width && y0 > 0 && y0+2 < p.Height && c <= 3 {
		n := p.Width * c
		at := (y0-1)*n + (x0-1)*c
		r0, r1, r2, r3 := p.Pix[at:][:4*c], p.Pix[at+n:][:4*c], p.Pix[at+2*n:][:4*c], p.Pix[at+3*n:][:4*c]
		for k := range out {
			out[k] = truncate(cubic(
				cubic(float64(r0[k]), float64(r0[k+c]), float64(r0[k+2*c]), float64(r0[k+3*c]), dx),
				cubic(float64(r1[k]), float64(r1[k+c]), float64(r1[k+2*c]), float64(r1[k+3*c]), dx),
				cubic(float64(r2[k]), float64(r2[k+c]), float64(r2[k+2*c]), float64(r2[k+3*c]), dx),
				cubic(float64(r3[k]), float64(r3[k+c]), float64(r3[k+2*c]), float64(r3[k+3*c]), dx), dy))
		}
		return
	}
	columns := p.columns(x0 - 1)
	for k := range out {
		var v [4]float64
		for i := range v {
			row := p.line(y0 - 1 + i)
			v[i] = cubic(float64(row[columns[0]+k]), float64(row[columns[1]+k]), float64(row[columns[2]+k]), float64(row[columns[3]+k]), dx)
		}
		out[k] = truncate(cubic(v[0], v[1], v[2], v[3], dy))
	}
}

// bicubicX is bicubic for an integer y.
func (p *Picture) bicubicX(out []uint8, x, y float64) {
	x0 := floor(x)
	dx := x - float64(x0)
	row := p.line(int(y))
	columns := p.columns(x0 - 1)
	for k := range out {
		out[k] = truncate(cubic(float64(row[columns[0]+k]), float64(row[columns[1]+k]), float64(row[columns[2]+k]), float64(row[columns[3]+k]), dx))
	}
}

// bicubicY is bicubic for an integer x.
func (p *Picture) bicubicY(out []uint8, x, y float64) {
	y0 := floor(y)
	dy := y - float64(y0)
	at := int(x) * p.Channels
	a, b, c, d := p.line(y0 - 1)[at:], p.line(y0)[at:], p.line(y0 + 1)[at:], p.line(y0 + 2)[at:]
	for k := range out {
		out[k] = truncate(cubic(float64(a[k]), float64(b[k]), float64(c[k]), float64(d[k]), dy))
	}
}

// bilinear writes the pixel at (x, y), where (0, 0) is the centre of the first
// pixel and both are at least -1/2.
func (p *Picture) bilinear(out []uint8, x, y float64) {
	x0, y0 := floor(x), floor(y)
	dx, dy := x-float64(x0), y-float64(y0)
	a, b := p.line(y0), p.line(y0+1)
	left, right := p.column(x0), p.column(x0+1)
	for k := range out {
		above := linear(float64(a[left+k]), float64(a[right+k]), dx)
		below := linear(float64(b[left+k]), float64(b[right+k]), dx)
		out[k] = uint8(linear(above, below, dy))
	}
}

// floor rounds a position of at least -1 down.
func floor(x float64) int {
	if x < 0 {
		return -1
	}
	return int(x)
}

// line returns row y, or the nearest row of the picture.
func (p *Picture) line(y int) []uint8 {
	n := p.Width * p.Channels
	return p.Pix[max(0, min(p.Height-1, y))*n:][:n]
}

// column returns the index of pixel x in a row, or that of the nearest pixel.
func (p *Picture) column(x int) int { return max(0, min(p.Width-1, x)) * p.Channels }

// columns returns the indices of the four pixels from x on.
func (p *Picture) columns(x int) [4]int {
	return [4]int{p.column(x), p.column(x + 1), p.column(x + 2), p.column(x + 3)}
}

// cubic evaluates the curve through b and c at a position from 0 to 1 between them, in
// PIL's order of operations.
func cubic(a, b, c, d, at float64) float64 {
	return b + float64(at*(c-a+float64(at*(float64(2*(a-b))+c-d+float64(at*(b-a-c+d))))))
}

func linear(a, b, at float64) float64 { return a + float64((b-a)*at) }

// truncate returns v as a pixel, truncated to an integer and clipped.
func truncate(v float64) uint8 {
	if v <= 0 { // three times as fast as min and max, which handle NaN
		return 0
	}
	if v >= 255 {
		return 255
	}
	return uint8(v)
}
