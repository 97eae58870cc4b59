// Package picture decodes photographs and changes them as PIL does, and so
// torchvision and timm: the pixels are the same, except that decoders of JPEG
// differ by a little (see DecodeJPEG).
package picture

// Picture is a decoded image, 8 bits a channel: rows of interleaved channels,
// Height x Width x Channels, no padding between the rows.
type Picture struct {
	Pix                     []uint8
	Width, Height, Channels int
}

// Reset gives the picture a size, reusing Pix where it is large enough. What the
// pixels are afterwards is not defined.
func (p *Picture) Reset(width, height, channels int) {
	n := width * height * channels
	if cap(p.Pix) < n {
		p.Pix = make([]uint8, n)
	}
	p.Pix = p.Pix[:n]
	p.Width, p.Height, p.Channels = width, height, channels
}
