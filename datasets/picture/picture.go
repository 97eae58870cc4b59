// Package picture decodes photographs and changes them like PIL, and thus like
// torchvision and timm: the pixels are the same, except for small differences
// between JPEG decoders (see DecodeJPEG).
package picture

// Picture is a decoded image of 8 bits per channel: rows of interleaved channels,
// Height x Width x Channels, without padding between the rows.
type Picture struct {
	Pix                     []uint8
	Width, Height, Channels int
}

// Reset gives the picture a size, reusing Pix if it is large enough. The pixels are
// then undefined.
func (p *Picture) Reset(width, height, channels int) {
	n := width * height * channels
	if cap(p.Pix) < n {
		p.Pix = make([]uint8, n)
	}
	p.Pix = p.Pix[:n]
	p.Width, p.Height, p.Channels = width, height, channels
}
