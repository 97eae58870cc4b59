package picture_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/internal/goldenfile"
	"hatchery/datasets/picture"
)

// golden is the file that testdata/golden.py writes.
type golden struct {
	Pictures map[string]*picture.Picture
	Cases    []struct {
		Picture, Op string
		Args        []float64
		SHA256      string // of the result's pixels, or
		Result      *picture.Picture
	}
}

func readGolden(t *testing.T) (g golden) {
	goldenfile.Read(t, "testdata/golden.json.gz", &g)
	return g
}

// Every change of colour, every change of geometry and every resize gives exactly the
// pixels of PIL and timm.
func TestPixelsArePILs(t *testing.T) {
	g := readGolden(t)
	if len(g.Cases) < 400 {
		t.Fatalf("%d cases", len(g.Cases))
	}
	var r picture.Resizer
	for _, c := range g.Cases {
		src := g.Pictures[c.Picture]
		fill := []uint8{124, 116, 104}[:src.Channels]
		p := &picture.Picture{}
		p.Reset(src.Width, src.Height, src.Channels)
		copy(p.Pix, src.Pix)
		dst := &picture.Picture{}
		op, filter := strings.TrimSuffix(c.Op, " bilinear"), picture.Bilinear
		if op == c.Op {
			op, filter = strings.TrimSuffix(c.Op, " bicubic"), picture.Bicubic
		}
		switch a := c.Args; op {
		case "AutoContrast":
			p.AutoContrast()
		case "Equalize":
			p.Equalize()
		case "Invert":
			p.Invert()
		case "Posterize":
			p.Posterize(int(a[0]))
		case "Solarize":
			p.Solarize(int(a[0]))
		case "SolarizeAdd":
			p.SolarizeAdd(int(a[0]))
		case "Color":
			p.Colour(a[0])
		case "Contrast":
			p.Contrast(a[0])
		case "Brightness":
			p.Brightness(a[0])
		case "Sharpness":
			p.Sharpness(src, a[0])
		case "Rotate":
			picture.Rotate(p, src, a[0], filter, fill)
		case "ShearX":
			picture.Affine(p, src, [6]float64{1, a[0], 0, 0, 1, 0}, filter, fill)
		case "ShearY":
			picture.Affine(p, src, [6]float64{1, 0, 0, a[0], 1, 0}, filter, fill)
		case "TranslateXRel":
			picture.Affine(p, src, [6]float64{1, 0, a[0] * float64(src.Width), 0, 1, 0}, filter, fill)
		case "TranslateYRel":
			picture.Affine(p, src, [6]float64{1, 0, 0, 0, 1, a[0] * float64(src.Height)}, filter, fill)
		case "Affine":
			picture.Affine(p, src, [6]float64(a), filter, fill)
		case "Resize":
			r.Resize(dst, src, int(a[0]), int(a[1]), picture.Box{X0: a[2], Y0: a[3], X1: a[4], Y1: a[5]}, filter)
			p = dst
		default:
			t.Fatalf("unknown operation %q", c.Op)
		}
		if c.Result == nil {
			if sum := sha256.Sum256(p.Pix); hex.EncodeToString(sum[:]) != c.SHA256 {
				t.Errorf("%s of %s, %v: other pixels", c.Op, c.Picture, c.Args)
			}
			continue
		}
		if p.Width != c.Result.Width || p.Height != c.Result.Height || p.Channels != c.Result.Channels {
			t.Errorf("%s of %s, %v: %dx%dx%d", c.Op, c.Picture, c.Args, p.Width, p.Height, p.Channels)
			continue
		}
		if slices.Equal(p.Pix, c.Result.Pix) {
			continue
		}
		differ, most := 0, 0
		for i, v := range p.Pix {
			if d := int(v) - int(c.Result.Pix[i]); d != 0 {
				differ++
				most = max(most, d, -d)
			}
		}
		t.Errorf("%s of %s, %v: %d of %d values differ, by at most %d", c.Op, c.Picture, c.Args, differ, len(p.Pix), most)
	}
}

func BenchmarkResize(b *testing.B) {
	var src, dst picture.Picture
	src.Reset(400, 300, 3)
	for i := range src.Pix {
		src.Pix[i] = uint8(i * i)
	}
	var r picture.Resizer
	for b.Loop() {
		r.Resize(&dst, &src, 224, 224, picture.Box{X1: 400, Y1: 300}, picture.Bicubic)
	}
}
