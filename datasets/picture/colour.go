package picture

// The functions here change a picture of one channel (grey) or three (RGB) in
// place, pixel for pixel as PIL's ImageOps and ImageEnhance do.

// table is what becomes of a value of each channel.
type table [3][256]uint8

// look replaces every value by what a table of its channel has for it.
func (p *Picture) look(t *table) {
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

// lookAll is look with one table for all channels.
func (p *Picture) lookAll(t *[256]uint8) {
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
			t[c] = same
			continue
		}
		scale := 255 / float64(hi-lo)
		offset := float64(-lo) * scale
		for v := range 256 {
			t[c][v] = cut(float64(float64(v)*scale) + offset)
		}
	}
	p.look(&t)
}

// same leaves every value as it is.
var same = func() (t [256]uint8) {
	for v := range t {
		t[v] = uint8(v)
	}
	return t
}()

// Equalize spreads the values of each channel so that all are as frequent as
// can be.
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
			t[c] = same
			continue
		}
		n := step / 2
		for v := range 256 {
			t[c][v] = uint8(min(255, n/step))
			n += h[c][v]
		}
	}
	p.look(&t)
}

// Invert makes the negative.
func (p *Picture) Invert() {
	for i, v := range p.Pix {
		p.Pix[i] = 255 - v
	}
}

// Posterize keeps the first bits of each value, 0 to 8. At 0 the picture is black,
// as it was in PIL before that refused such a number.
func (p *Picture) Posterize(bits int) {
	mask := uint8(0xff << (8 - bits))
	for i, v := range p.Pix {
		p.Pix[i] = v & mask
	}
}

// Solarize inverts the values from a threshold, 0 to 256, on.
func (p *Picture) Solarize(threshold int) {
	t := same
	for v := threshold; v < 256; v++ {
		t[v] = uint8(255 - v)
	}
	p.lookAll(&t)
}

// SolarizeAdd adds to the values below 128 (timm's solarize_add).
func (p *Picture) SolarizeAdd(add int) {
	t := same
	for v := range 128 {
		t[v] = uint8(min(255, v+add))
	}
	p.lookAll(&t)
}

// Brightness blends the picture with black: factor 0 is black, 1 the picture.
func (p *Picture) Brightness(factor float64) {
	p.blendWith(0, factor)
}

// Contrast blends the picture with its mean grey: factor 0 is grey, 1 the
// picture.
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

// Colour blends the picture with its grey version (PIL's Color): factor 0 is
// grey, 1 the picture. A picture of one channel stays as it is.
func (p *Picture) Colour(factor float64) {
	if p.Channels == 1 || float32(factor) == 1 {
		return
	}
	b := newBlend(factor)
	for pix := p.Pix; len(pix) >= 3; pix = pix[3:] {
		v := pix[:3]
		g := grey(v[0], v[1], v[2])
		v[0], v[1], v[2] = b.of(g, v[0]), b.of(g, v[1]), b.of(g, v[2])
	}
}

// Sharpness makes p src blended with a smoothed version of it: factor 0 is
// smooth, 1 is src. p must not be src.
func (p *Picture) Sharpness(src *Picture, factor float64) {
	w, h, c := src.Width, src.Height, src.Channels
	p.Reset(w, h, c)
	copy(p.Pix, src.Pix)
	if w < 3 || h < 3 || float32(factor) == 1 {
		return // the border stays as it is
	}
	b := newBlend(factor)
	n, m := w*c, (w-2)*c
	for y := 1; y < h-1; y++ {
		at := (y - 1) * n // of the pixel left of and above the first
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
			out[i] = b.of(uint8((2*sum+13)/26), b1[i]) // sum/13, rounded
		}
	}
}

// blendWith blends the picture with one of a single value.
func (p *Picture) blendWith(value uint8, factor float64) {
	var t [256]uint8
	b := newBlend(factor)
	for v := range t {
		t[v] = b.of(value, uint8(v))
	}
	p.lookAll(&t)
}

// blend blends values as PIL's Image.blend: a + factor*(b-a) in single
// precision, cut to a value. It holds the second term for b-a from -255 on.
type blend [511]float32

func newBlend(factor float64) *blend {
	var b blend
	for i := range b {
		b[i] = float32(factor) * float32(i-255)
	}
	return &b
}

func (t *blend) of(a, b uint8) uint8 {
	v := float32(a) + t[int(b)-int(a)+255]
	if v <= 0 {
		return 0
	}
	if v >= 255 {
		return 255
	}
	return uint8(v)
}

// grey is the luma of a colour as PIL's convert("L") has it.
func grey(r, g, b uint8) uint8 {
	return uint8((int(r)*19595 + int(g)*38470 + int(b)*7471 + 1<<15) >> 16)
}
