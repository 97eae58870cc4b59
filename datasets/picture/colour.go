package picture

// The functions in this file change a picture of one channel (grey) or three (RGB) in
// place, pixel for pixel like PIL's ImageOps and ImageEnhance.

// table maps the values of each channel to new ones.
type table [3][256]uint8

// replace replaces every value by the one in its channel's table.
func (p *Picture) replace(t *table) {
	if p.Channels == 1 {
		for i, v := range p.Pix {
			p.Pix[i] = t[0][v]
		}
		return
	}
	for pix := p.Pix; len(pix) >= 3; pix = pix[3:] {
		pix[0], pix[1], pix[2] = t[0][pix[0]], t[1][pix[1]], t[2][pix[2]]
	}
}

// replaceAll is like replace, with one table for all channels.
func (p *Picture) replaceAll(t *[256]uint8) {
	for i, v := range p.Pix {
		p.Pix[i] = t[v]
	}
}

// histogram counts the values of each channel.
func (p *Picture) histogram() (h [3][256]int32) {
	if p.Channels == 1 {
		for _, v := range p.Pix {
			h[0][v]++
		}
		return h
	}
	for pix := p.Pix; len(pix) >= 3; pix = pix[3:] {
		h[0][pix[0]]++
		h[1][pix[1]]++
		h[2][pix[2]]++
	}
	return h
}

// AutoContrast stretches each channel to the full range of values.
func (p *Picture) AutoContrast() {
	h := p.histogram()
	var t table
	for c := range p.Channels {
		lo, hi := 0, 255
		for lo < 255 && h[c][lo] == 0 {
			lo++
		}
		for hi > 0 && h[c][hi] == 0 {
			hi--
		}
		if hi <= lo {
			t[c] = identity
			continue
		}
		scale := 255 / float64(hi-lo)
		offset := float64(-lo) * scale
		for v := range 256 {
			t[c][v] = truncate(float64(float64(v)*scale) + offset)
		}
	}
	p.replace(&t)
}

// identity maps every value to itself.
var identity = func() (t [256]uint8) {
	for v := range t {
		t[v] = uint8(v)
	}
	return t
}()

// Equalize equalizes the histogram of each channel.
func (p *Picture) Equalize() {
	h := p.histogram()
	var t table
	for c := range p.Channels {
		sum, last := int32(0), int32(0)
		for _, n := range h[c] {
			sum += n
			if n != 0 {
				last = n
			}
		}
		step := (sum - last) / 255
		if step == 0 { // one value only, or too few pixels
			t[c] = identity
			continue
		}
		n := step / 2
		for v := range 256 {
			t[c][v] = uint8(min(255, n/step))
			n += h[c][v]
		}
	}
	p.replace(&t)
}

// Invert makes the negative of the picture.
func (p *Picture) Invert() {
	for i, v := range p.Pix {
		p.Pix[i] = 255 - v
	}
}

// Posterize keeps the upper bits of each value, 0 to 8 of them. With 0 the picture is
// black, as in PIL before it rejected this number.
func (p *Picture) Posterize(bits int) {
	mask := uint8(0xff << (8 - bits))
	for i, v := range p.Pix {
		p.Pix[i] = v & mask
	}
}

// Solarize inverts the values from a threshold on, 0 to 256.
func (p *Picture) Solarize(threshold int) {
	t := identity
	for v := threshold; v < 256; v++ {
		t[v] = uint8(255 - v)
	}
	p.replaceAll(&t)
}

// SolarizeAdd adds a number to the values below 128 (timm's solarize_add).
func (p *Picture) SolarizeAdd(add int) {
	t := identity
	for v := range 128 {
		t[v] = uint8(min(255, v+add))
	}
	p.replaceAll(&t)
}

// Brightness blends the picture with black: factor 0 gives black, 1 the picture.
func (p *Picture) Brightness(factor float64) {
	p.blendWith(0, factor)
}

// Contrast blends the picture with its mean grey: factor 0 gives grey, 1 the picture.
func (p *Picture) Contrast(factor float64) {
	sum := 0
	if p.Channels == 1 {
		for _, v := range p.Pix {
			sum += int(v)
		}
	} else {
		for pix := p.Pix; len(pix) >= 3; pix = pix[3:] {
			sum += int(grey(pix[0], pix[1], pix[2]))
		}
	}
	mean := float64(sum) / float64(p.Width*p.Height)
	p.blendWith(uint8(mean+0.5), factor)
}

// Colour blends the picture with its grey version (PIL's Color): factor 0 gives grey, 1
// the picture. It does not change a picture of one channel.
func (p *Picture) Colour(factor float64) {
	if p.Channels == 1 || float32(factor) == 1 {
		return
	}
	b := newBlend(factor)
	for pix := p.Pix; len(pix) >= 3; pix = pix[3:] {
		v := pix[:3]
		g := grey(v[0], v[1], v[2])
		v[0], v[1], v[2] = b.value(g, v[0]), b.value(g, v[1]), b.value(g, v[2])
	}
}

// Sharpness sets p to src blended with a smoothed version of it: factor 0 gives the
// smoothed version, 1 gives src. p must not be src.
func (p *Picture) Sharpness(src *Picture, factor float64) {
	w, h, c := src.Width, src.Height, src.Channels
	p.Reset(w, h, c)
	copy(p.Pix, src.Pix)
	if w < 3 || h < 3 || float32(factor) == 1 {
		return // only inner pixels change
	}
	b := newBlend(factor)
	n, m := w*c, (w-2)*c
	for y := 1; y < h-1; y++ {
		at := (y - 1) * n // the pixel above and to the left of the first
		a0, a1, a2 := src.Pix[at:][:m], src.Pix[at+c:][:m], src.Pix[at+2*c:][:m]
		at += n
		b0, b1, b2 := src.Pix[at:][:m], src.Pix[at+c:][:m], src.Pix[at+2*c:][:m]
		out := p.Pix[at+c:][:m]
		at += n
		c0, c1, c2 := src.Pix[at:][:m], src.Pix[at+c:][:m], src.Pix[at+2*c:][:m]
		for i := range out {
			sum := int(a0[i]) + int(a1[i]) + int(a2[i]) +
				int(b0[i]) + 5*int(b1[i]) + int(b2[i]) +
				int(c0[i]) + int(c1[i]) + int(c2[i])
			out[i] = b.value(uint8((2*sum+13)/26), b1[i]) // sum/13, rounded
		}
	}
}

// blendWith blends the picture with a single value.
func (p *Picture) blendWith(value uint8, factor float64) {
	var t [256]uint8
	b := newBlend(factor)
	for v := range t {
		t[v] = b.value(value, uint8(v))
	}
	p.replaceAll(&t)
}

// blend blends values like PIL's Image.blend: a + factor*(b-a) in single precision,
// truncated and clipped. It holds the second term for b-a from -255 to 255.
type blend [511]float32

func newBlend(factor float64) *blend {
	var b blend
	for i := range b {
		b[i] = float32(factor) * float32(i-255)
	}
	return &b
}

func (t *blend) value(a, b uint8) uint8 {
	v := float32(a) + t[int(b)-int(a)+255]
	if v <= 0 {
		return 0
	}
	if v >= 255 {
		return 255
	}
	return uint8(v)
}

// grey returns the luma of a colour, like PIL's convert("L").
func grey(r, g, b uint8) uint8 {
	return uint8((int(r)*19595 + int(g)*38470 + int(b)*7471 + 1<<15) >> 16)
}
