//go:build turbojpeg

package picture

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// libturbojpeg gives exactly PIL's pixels.
func TestTurboJPEGIsPILs(t *testing.T) {
	var p Picture
	for name, g := range jpegFiles(t) {
		if err := Decode(g.File, &p); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if mean, most := difference(t, &p, g.Picture); most != 0 {
			t.Errorf("%s: differs from PIL's by %.3f on average and %d at most", name, mean, most)
		}
	}
}

// libturbojpeg reads most forms that Go's decoder does not read; errors name the others.
func TestTurboJPEGReadsMoreForms(t *testing.T) {
	var p Picture
	for name, g := range forms(t) {
		err := Decode(g.File, &p)
		var u *Unsupported
		switch g.Form {
		case "lossless coding", "12 bits per channel", "2 channels":
			// The library reads lossless files from version 3 on.
			if err == nil && g.Form == "lossless coding" {
				break
			}
			if !errors.As(err, &u) || u.Form != g.Form || strings.Contains(err.Error(), "turbojpeg") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if mean, most := difference(t, &p, g.Picture); most != 0 {
			t.Errorf("%s: differs from PIL's by %.3f on average and %d at most", name, mean, most)
		}
	}
}

func TestTurboJPEGRefuses(t *testing.T) {
	good := jpegFiles(t)["4:2:0"].File
	zeroed := slices.Clone(good)
	clear(zeroed[2:200])
	var p Picture
	for name, data := range map[string][]byte{"a cut file": good[:len(good)*2/3], "a header alone": good[:100], "no header": zeroed} {
		if err := Decode(data, &p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Decode(good[:len(good)/2], &p); err == nil || !strings.Contains(err.Error(), "damaged JPEG file: ") {
		t.Errorf("half a file: %v", err)
	}
	// Wherever a file ends, it does not affect the next one.
	for n := 3; n < len(good); n += 7 {
		Decode(good[:n], &p)
		if err := Decode(good, &p); err != nil {
			t.Fatalf("after a file of %d bytes: %v", n, err)
		}
	}
}

func TestTurboJPEGDoesNotAllocate(t *testing.T) {
	data := jpegFiles(t)["4:2:0"].File
	var p Picture
	if n := testing.AllocsPerRun(50, func() {
		if err := Decode(data, &p); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTurboJPEG(f *testing.F) {
	for _, g := range jpegFiles(f) {
		f.Add(g.File)
		f.Add(g.File[:len(g.File)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Picture
		if err := decodeTurboJPEG(data, &p); err == nil && len(p.Pix) != p.Width*p.Height*3 {
			t.Errorf("%d bytes for %dx%d", len(p.Pix), p.Width, p.Height)
		}
	})
}
