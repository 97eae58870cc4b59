package picture

import "image"

// The contributions of a pixel's two chroma values to red, green and blue, rounded as
// in libjpeg. Those to green are in units of 1/65536, since they are added before
// rounding.
var red, greenCb, greenCr, blue [256]int32

func init() {
	const one, half = 1 << 16, 1 << 15
	fix := func(x float64) int32 { return int32(x*one + 0.5) }
	for i := range int32(256) {
		x := i - 128
		red[i] = (fix(1.402)*x + half) >> 16
		blue[i] = (fix(1.772)*x + half) >> 16
		greenCb[i] = -fix(0.344136286) * x
		greenCr[i] = -fix(0.714136286)*x + half
	}
}

// fromYCbCr writes a decoded image as RGB. Chroma with half as many columns or rows is
// interpolated like libjpeg's default: from the nearest value, with weight 3/4, and the
// next.
func (p *Picture) fromYCbCr(m *image.YCbCr) {
	w, h := p.Width, p.Height
	columns, rows := 1, 1 // pixels per chroma value
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio420:
		columns, rows = 2, 2
	case image.YCbCrSubsampleRatio422:
		columns = 2
	case image.YCbCrSubsampleRatio440:
		rows = 2
	case image.YCbCrSubsampleRatio411:
		columns = 4
	case image.YCbCrSubsampleRatio410:
		columns, rows = 4, 2
	}
	cw, ch := (w+columns-1)/columns, (h+rows-1)/rows
	cb, cr := make([]uint8, cw*columns), make([]uint8, cw*columns)
	sums := make([]int32, cw)
	for y := range h {
		near := y / rows
		far := near // no interpolation
		if rows == 2 && columns <= 2 {
			far = max(0, min(ch-1, near+2*(y%2)-1))
		}
		chroma := func(dst, plane []uint8) {
			a, b := plane[near*m.CStride:][:cw], plane[far*m.CStride:][:cw]
			switch {
			case columns == 1 && rows == 1:
				copy(dst, a)
			case columns == 1:
				for i, v := range a {
					dst[i] = uint8((3*int32(v) + int32(b[i]) + 1 + int32(y%2)) >> 2)
				}
			case columns == 2 && cw > 2:
				shift := 2
				for i, v := range a {
					sums[i] = int32(v)
				}
				if rows == 2 {
					shift = 4
					for i, v := range a {
						sums[i] = 3*int32(v) + int32(b[i])
					}
				}
				widen(dst, sums, shift)
			default: // too narrow or too coarse to interpolate
				for i := range dst {
					dst[i] = a[i/columns]
				}
			}
		}
		chroma(cb, m.Cb)
		chroma(cr, m.Cr)
		in, out := m.Y[y*m.YStride:][:w], p.row(y)
		for x, v := range in {
			l, b, r := int32(v), cb[x], cr[x]
			o := out[3*x:][:3]
			o[0] = clamp(l + red[r])
			o[1] = clamp(l + (greenCb[b]+greenCr[r])>>16)
			o[2] = clamp(l + blue[b])
		}
	}
}

// widen interpolates two values for each value of a row. The values of the row are
// scaled by 1<<shift/4.
func widen(dst []uint8, row []int32, shift int) {
	left, right := int32(1), int32(2)
	if shift == 4 {
		left, right = 8, 7
	}
	n := len(row)
	dst[0] = uint8((4*row[0] + left) >> shift)
	dst[2*n-1] = uint8((4*row[n-1] + right) >> shift)
	for i := 1; i < n; i++ {
		before, after := row[i-1], row[i]
		dst[2*i-1] = uint8((3*before + after + right) >> shift)
		dst[2*i] = uint8((3*after + before + left) >> shift)
	}
}

func clamp(v int32) uint8 { return uint8(max(0, min(255, v))) }
