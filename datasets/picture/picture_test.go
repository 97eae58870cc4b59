package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"hatchery/datasets/internal/goldenfile"
)

// golden is a file with PIL's pixels, written by testdata/pictures.py.
type golden struct {
	Name          string
	File          []byte
	Width, Height int
	RGB           []byte
}

func goldens(t testing.TB) []golden {
	t.Helper()
	var all []golden
	goldenfile.Read(t, "testdata/pictures.json", &all)
	if len(all) != 15 {
		t.Fatalf("%d pictures", len(all))
	}
	return all
}

func TestDecodeIsPILs(t *testing.T) {
	var p Picture // reused
	for _, g := range goldens(t) {
		if err := Decode(g.File, &p); err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		if p.Width != g.Width || p.Height != g.Height || p.Channels != 3 || len(p.Pix) != len(g.RGB) {
			t.Errorf("%s: %dx%dx%d, want %dx%d", g.Name, p.Width, p.Height, p.Channels, g.Width, g.Height)
			continue
		}
		// JPEG decoders may round differently.
		allowed := 0
		if strings.HasPrefix(g.Name, "JPEG") {
			allowed = 2
		}
		worst := 0
		for i, v := range p.Pix {
			worst = max(worst, int(v)-int(g.RGB[i]), int(g.RGB[i])-int(v))
		}
		t.Logf("%s: greatest difference %d", g.Name, worst)
		if worst > allowed {
			t.Errorf("%s: differs by %d, want at most %d", g.Name, worst, allowed)
		}
	}
}

func TestDecode16Bits(t *testing.T) {
	m := image.NewNRGBA64(image.Rect(0, 0, 2, 1))
	m.SetNRGBA64(1, 0, color.NRGBA64{R: 0x1234, G: 0xfeff, B: 0x00ff, A: 0x8000})
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	var p Picture
	if err := Decode(b.Bytes(), &p); err != nil || !bytes.Equal(p.Pix, []byte{0, 0, 0, 0x12, 0xfe, 0}) {
		t.Errorf("%v, %v", p.Pix, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	defer func(decode func([]byte, *Picture) error) { DecodeJPEG = decode }(DecodeJPEG)
	DecodeJPEG = decodeGoJPEG // other decoders have other messages (see turbojpeg_test.go)
	all := goldens(t)
	whole := map[string][]byte{}
	for _, g := range all {
		whole[g.Name] = g.File
	}
	jpg, pngFile := whole["JPEG 4:4:4"], whole["PNG RGB"]
	huge := bytes.Clone(jpg)
	copy(huge[bytes.Index(huge, []byte("\xff\xc0"))+5:], "\xff\xff\xff\xff") // height and width
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "the file is empty"},
		"text":           {[]byte("<!DOCTYPE html>"), `neither JPEG nor PNG: it begins with "<!DOCTYP"`},
		"truncated JPEG": {jpg[:len(jpg)/2], "EOF"},
		"truncated PNG":  {pngFile[:len(pngFile)/2], "not enough pixel data"},
		"damaged PNG":    {append(bytes.Clone(pngFile[:100]), make([]byte, len(pngFile)-100)...), "checksum"},
		"huge JPEG":      {huge, "the picture is 65535x65535, want 1 to 178956970 pixels"},
		"JPEG header":    {jpg[:20], "EOF"},
	} {
		var p Picture
		if err := Decode(c.data, &p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.File)
		f.Add(g.File[:len(g.File)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Picture
		if err := Decode(data, &p); err != nil {
			return
		}
		if p.Width < 1 || p.Height < 1 || p.Channels != 3 || len(p.Pix) != p.Width*p.Height*3 {
			t.Errorf("%dx%dx%d with %d bytes", p.Width, p.Height, p.Channels, len(p.Pix))
		}
	})
}
