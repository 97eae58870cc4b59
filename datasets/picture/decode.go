package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
)

// DecodeJPEG decodes a JPEG file into p, reusing its memory, as three channels of
// RGB. It is Go's decoder, unless a build tag replaces it by a faster one.
var DecodeJPEG func(data []byte, p *Picture) error = decodeGoJPEG

// Decoder is the name of the JPEG decoder. Decoders differ in the files that they can
// read.
var Decoder = "go"

// maxPixels is the size of the largest picture that is decoded. PIL takes larger ones
// for an attack, since a few bytes of header could allocate gigabytes.
const maxPixels = 178956970

var (
	jpegMagic = []byte("\xff\xd8\xff")
	pngMagic  = []byte("\x89PNG\r\n\x1a\n")
)

// Decode decodes a JPEG or PNG file, which it recognizes by its content, into three
// channels like PIL's convert("RGB"): grey is repeated, alpha is dropped without
// blending, palettes are looked up, CMYK is inverted and multiplied. Like
// torchvision's loader, it ignores the orientation in EXIF data.
func Decode(data []byte, p *Picture) error {
	switch {
	case len(data) == 0:
		return errors.New("the file is empty")
	case bytes.HasPrefix(data, jpegMagic):
		return DecodeJPEG(data, p)
	case bytes.HasPrefix(data, pngMagic):
		return decodePNG(data, p)
	}
	return fmt.Errorf("neither JPEG nor PNG: it begins with %q", data[:min(len(data), 8)])
}

func decodeGoJPEG(data []byte, p *Picture) error {
	config, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return jpegError(data, err, true)
	}
	if err := checkSize(config); err != nil {
		return err
	}
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return jpegError(data, err, true)
	}
	return p.convert(m)
}

func decodePNG(data []byte, p *Picture) error {
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if err := checkSize(config); err != nil {
		return err
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return p.convert(m)
}

func checkSize(c image.Config) error {
	if c.Width < 1 || c.Height < 1 || c.Width > maxPixels/c.Height {
		return fmt.Errorf("the picture is %dx%d, want 1 to %d pixels", c.Width, c.Height, maxPixels)
	}
	return nil
}

// convert writes a decoded image as RGB.
func (p *Picture) convert(m image.Image) error {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	p.Reset(w, h, 3)
	switch m := m.(type) {
	case *image.Gray:
		for y := range h {
			p.grey(y, m.Pix[y*m.Stride:][:w])
		}
	case *image.YCbCr:
		p.fromYCbCr(m)
	case *image.CMYK:
		// Go undoes Adobe's inversion, like PIL.
		for y := range h {
			in, out := m.Pix[y*m.Stride:], p.row(y)
			for x := range w {
				k := 255 - int(in[4*x+3])
				for c := range 3 {
					out[3*x+c] = uint8(clip(k - mulDiv255(int(in[4*x+c]), k)))
				}
			}
		}
	case *image.RGBA: // PNG without alpha
		for y := range h {
			p.dropAlpha(y, m.Pix[y*m.Stride:])
		}
	case *image.NRGBA:
		for y := range h {
			p.dropAlpha(y, m.Pix[y*m.Stride:])
		}
	case *image.RGBA64: // PNG with 16 bits per channel, of which PIL takes the upper 8
		for y := range h {
			p.upperBytes(y, m.Pix[y*m.Stride:])
		}
	case *image.NRGBA64:
		for y := range h {
			p.upperBytes(y, m.Pix[y*m.Stride:])
		}
	case *image.Paletted:
		var palette [256][3]uint8
		for i, c := range m.Palette {
			n := color.NRGBAModel.Convert(c).(color.NRGBA)
			palette[i] = [3]uint8{n.R, n.G, n.B}
		}
		for y := range h {
			in, out := m.Pix[y*m.Stride:][:w], p.row(y)
			for x, v := range in {
				copy(out[3*x:], palette[v][:])
			}
		}
	default: // 16-bit grey: libraries disagree on its RGB values
		return &Unsupported{"16-bit grey", "save it with 8 bits per channel"}
	}
	return nil
}

func (p *Picture) row(y int) []uint8 { return p.Pix[y*p.Width*3:][:p.Width*3] }

// grey writes a row of one channel.
func (p *Picture) grey(y int, in []uint8) {
	out := p.row(y)
	for x, v := range in {
		out[3*x], out[3*x+1], out[3*x+2] = v, v, v
	}
}

// dropAlpha writes a row of four channels without the fourth.
func (p *Picture) dropAlpha(y int, in []uint8) {
	out := p.row(y)
	for x := range p.Width {
		copy(out[3*x:3*x+3], in[4*x:])
	}
}

// upperBytes writes the upper bytes of a row of four 16-bit channels without the fourth.
func (p *Picture) upperBytes(y int, in []uint8) {
	out := p.row(y)
	for x := range p.Width {
		out[3*x], out[3*x+1], out[3*x+2] = in[8*x], in[8*x+2], in[8*x+4]
	}
}

// mulDiv255 returns a*b/255, rounded like PIL's MULDIV255.
func mulDiv255(a, b int) int {
	t := a*b + 128
	return (t>>8 + t) >> 8
}

func clip(v int) int { return max(0, min(255, v)) }
