package picture

import "math"

// Affine makes dst, as large as src, by PIL's Image.transform with AFFINE data:
// the pixel at (x, y) comes from (m[0]x + m[1]y + m[2], m[3]x + m[4]y + m[5]) of
// src, positions counted from the corner of a picture to the centres of pixels.
// What comes from outside of src has the colour fill. dst must not be src.
//
// PIL's bicubic filter is a sharper one here than in Resize, the cubic with
// a = -1, and its result is cut to an integer, not rounded.
func Affine(dst, src *Picture, m [6]float64, f Filter, fill []uint8) {
	c := src.Channels
	dst.Reset(src.Width, src.Height, c)
	sample := bicubic
	switch {
	case f == Bilinear:
		sample = bilinear
	case m[3] == 0 && m[4] == 1 && m[5] == 0:
		sample = bicubicAcross
	case m[0] == 1 && m[1] == 0 && m[2] == 0:
		sample = bicubicDown
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
				sample(out[:c], src, xx-0.5, yy-0.5)
			}
			out = out[c:]
		}
	}
}

// Rotate makes dst, as large as src, by PIL's Image.rotate: src turned by an
// angle in degrees, against the clock, around its centre.
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
	const digits = 1e15 // after the point that PIL keeps
	cos := math.RoundToEven(math.Cos(angle)*digits) / digits
	sin := math.RoundToEven(math.Sin(angle)*digits) / digits
	x, y := float64(src.Width)/2, float64(src.Height)/2
	Affine(dst, src, [6]float64{
		cos, sin, float64(cos*-x) + float64(sin*-y) + x,
		-sin, cos, float64(-sin*-x) + float64(cos*-y) + y,
	}, f, fill)
}

// bicubic writes the pixel of p at (x, y), where (0, 0) is the centre of the
// first pixel.
func bicubic(out []uint8, p *Picture, x, y float64) {
	x0, dx := split(x)
	y0, dy := split(y)
	var rows [4][]uint8
	for i := range rows {
		rows[i] = p.line(y0 - 1 + i)
	}
	columns := p.columns(x0 - 1)
	for c := range out {
		var v [4]float64
		for i, row := range rows {
			v[i] = cubic(float64(row[columns[0]+c]), float64(row[columns[1]+c]), float64(row[columns[2]+c]), float64(row[columns[3]+c]), dx)
		}
		out[c] = cut(cubic(v[0], v[1], v[2], v[3], dy))
	}
}

// bicubicAcross is bicubic for a whole y.
func bicubicAcross(out []uint8, p *Picture, x, y float64) {
	x0, dx := split(x)
	row := p.line(int(y))
	columns := p.columns(x0 - 1)
	for c := range out {
		out[c] = cut(cubic(float64(row[columns[0]+c]), float64(row[columns[1]+c]), float64(row[columns[2]+c]), float64(row[columns[3]+c]), dx))
	}
}

// bicubicDown is bicubic for a whole x.
func bicubicDown(out []uint8, p *Picture, x, y float64) {
	y0, dy := split(y)
	at := int(x) * p.Channels
	a, b, c, d := p.line(y0 - 1)[at:], p.line(y0)[at:], p.line(y0 + 1)[at:], p.line(y0 + 2)[at:]
	for i := range out {
		out[i] = cut(cubic(float64(a[i]), float64(b[i]), float64(c[i]), float64(d[i]), dy))
	}
}

// bilinear writes the pixel of p at (x, y), where (0, 0) is the centre of the
// first pixel.
func bilinear(out []uint8, p *Picture, x, y float64) {
	x0, dx := split(x)
	y0, dy := split(y)
	a, b := p.line(y0), p.line(y0+1)
	left, right := p.column(x0), p.column(x0+1)
	for c := range out {
		above := linear(float64(a[left+c]), float64(a[right+c]), dx)
		below := linear(float64(b[left+c]), float64(b[right+c]), dx)
		out[c] = uint8(linear(above, below, dy))
	}
}

// split is a position as the pixel before it and what is left.
func split(x float64) (int, float64) {
	whole := math.Floor(x)
	return int(whole), x - whole
}

// line is row y, or the nearest that there is.
func (p *Picture) line(y int) []uint8 {
	n := p.Width * p.Channels
	return p.Pix[max(0, min(p.Height-1, y))*n:][:n]
}

// column is where pixel x of a row is, or the nearest that there is.
func (p *Picture) column(x int) int { return max(0, min(p.Width-1, x)) * p.Channels }

// columns is where the four pixels from x on are.
func (p *Picture) columns(x int) [4]int {
	return [4]int{p.column(x), p.column(x + 1), p.column(x + 2), p.column(x + 3)}
}

// cubic is the curve through b and c at d, 0 <= d < 1, in PIL's order of
// operations.
func cubic(a, b, c, d, at float64) float64 {
	p2 := c - a
	p3 := float64(2*(a-b)) + c - d
	p4 := b - a - c + d
	return b + float64(at*(p2+float64(at*(p3+float64(at*p4)))))
}

func linear(a, b, at float64) float64 { return a + float64((b-a)*at) }

// cut is v as a pixel, what is behind the point cut off.
func cut(v float64) uint8 { return uint8(max(0, min(255, v))) }
