//go:build turbojpeg

package picture

import (
	"slices"
	"strings"
	"testing"
)

// What libturbojpeg decodes is what PIL does, to the last bit.
func TestTurboJPEGIsPILs(t *testing.T) {
	var p Picture
	for name, g := range jpegFiles(t) {
		if err := Decode(g.File, &p, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if mean, most := difference(t, &p, g.Picture); most != 0 {
			t.Errorf("%s: differs from PIL's by %.3f on average and %d at most", name, mean, most)
		}
	}
}

// A picture is halved as often as its shorter side allows, and is then near the
// mean of the pixels that each of its own stands for.
func TestTurboJPEGReduces(t *testing.T) {
	data := jpegFiles(t)["4:4:4"].File // 70x53
	var whole, p Picture
	if err := Decode(data, &whole, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ least, w, h int }{
		{0, 70, 53}, {54, 70, 53}, {53, 70, 53}, {28, 70, 53}, {27, 35, 27}, {15, 35, 27}, {14, 18, 14}, {8, 18, 14}, {7, 9, 7}, {1, 9, 7},
	} {
		if err := Decode(data, &p, c.least); err != nil {
			t.Fatal(err)
		}
		if p.Width != c.w || p.Height != c.h {
			t.Errorf("at least %d: %dx%d, want %dx%d", c.least, p.Width, p.Height, c.w, c.h)
		}
	}
	if err := Decode(data, &p, 27); err != nil {
		t.Fatal(err)
	}
	var want Picture
	want.Reset(35, 27, 3)
	for y := range 26 {
		for x := range 35 {
			for c := range 3 {
				sum := int(whole.at(2*x, 2*y, c)) + int(whole.at(2*x+1, 2*y, c)) + int(whole.at(2*x, 2*y+1, c)) + int(whole.at(2*x+1, 2*y+1, c))
				want.Pix[(y*35+x)*3+c] = uint8((sum + 2) / 4)
			}
		}
	}
	copy(want.Pix[26*35*3:], p.Pix[26*35*3:]) // half of the last row is made up
	if mean, most := difference(t, &p, &want); mean > 2 || most > 20 {
		t.Errorf("halved: differs by %.2f on average and %d at most", mean, most)
	}
}

func TestTurboJPEGRefuses(t *testing.T) {
	good := jpegFiles(t)["4:2:0"].File
	zeroed := slices.Clone(good)
	clear(zeroed[2:200])
	var p Picture
	for name, data := range map[string][]byte{"a cut file": good[:len(good)*2/3], "a header alone": good[:100], "no header": zeroed} {
		if err := Decode(data, &p, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Decode(good[:len(good)/2], &p, 0); err == nil || !strings.Contains(err.Error(), "damaged JPEG file: ") {
		t.Errorf("half a file: %v", err)
	}
	// Wherever a file ends, the next one is decoded as if there had been none.
	for n := 3; n < len(good); n += 7 {
		Decode(good[:n], &p, 0)
		if err := Decode(good, &p, 0); err != nil {
			t.Fatalf("after a file of %d bytes: %v", n, err)
		}
	}
}

func TestTurboJPEGDoesNotAllocate(t *testing.T) {
	data := jpegFiles(t)["4:2:0"].File
	var p Picture
	if n := testing.AllocsPerRun(50, func() {
		if err := Decode(data, &p, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTurboJPEG(f *testing.F) {
	for _, g := range jpegFiles(f) {
		f.Add(g.File, 0)
		f.Add(g.File[:len(g.File)/2], 16)
	}
	f.Fuzz(func(t *testing.T, data []byte, least int) {
		var p Picture
		if err := decodeTurboJPEG(data, &p, least); err == nil && len(p.Pix) != p.Width*p.Height*3 {
			t.Errorf("%d bytes for %dx%d", len(p.Pix), p.Width, p.Height)
		}
	})
}
