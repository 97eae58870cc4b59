package picture

import "slices"

// SetPlanes sets p to the image whose channels are in pix one after another,
// Channels x Height x Width.
func (p *Picture) SetPlanes(pix []uint8, width, height, channels int) {
	p.Reset(width, height, channels)
	n := width * height
	if channels != 3 {
		for c := range channels {
			for i, v := range pix[c*n:][:n] {
				p.Pix[i*channels+c] = v
			}
		}
		return
	}
	r, g, b := pix[:n], pix[n:][:n], pix[2*n:][:n]
	out := p.Pix
	for i, v := range r {
		o := out[:3]
		o[0], o[1], o[2] = v, g[i], b[i]
		out = out[3:]
	}
}

// Planes writes the channels of p one after another. It is the inverse of SetPlanes.
func (p *Picture) Planes(dst []uint8) {
	n := p.Width * p.Height
	if p.Channels != 3 {
		for c := range p.Channels {
			out := dst[c*n:][:n]
			for i := range out {
				out[i] = p.Pix[i*p.Channels+c]
			}
		}
		return
	}
	r, g, b := dst[:n], dst[n:][:n], dst[2*n:][:n]
	in := p.Pix
	for i := range r {
		v := in[:3]
		r[i], g[i], b[i] = v[0], v[1], v[2]
		in = in[3:]
	}
}

// Crop sets p to the part of src, which must not be p, of width x height pixels that
// begins at (x, y). Pixels outside src are black.
func (p *Picture) Crop(src *Picture, x, y, width, height int) {
	c := src.Channels
	p.Reset(width, height, c)
	// The columns of p that have a source: [left, right).
	left := max(0, min(width, -x))
	right := max(left, min(width, src.Width-x))
	for row := range height {
		out := p.Pix[row*width*c:][:width*c]
		if from := y + row; from < 0 || from >= src.Height || left == right {
			clear(out)
		} else {
			clear(out[:left*c])
			clear(out[right*c:])
			copy(out[left*c:right*c], src.Pix[(from*src.Width+x+left)*c:])
		}
	}
}

// Mirror exchanges left and right.
func (p *Picture) Mirror() {
	n := p.Width * p.Channels
	for row := range slices.Chunk(p.Pix, n) {
		if p.Channels == 1 {
			slices.Reverse(row)
			continue
		}
		for i, j := 0, n-p.Channels; i < j; i, j = i+p.Channels, j-p.Channels {
			for c := range p.Channels {
				row[i+c], row[j+c] = row[j+c], row[i+c]
			}
		}
	}
}
