package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"hatchery/datasets/internal/goldenfile"
)

// form is a JPEG file of a form that some decoders do not read.
type form struct {
	File    []byte
	Form    string   // its name in errors; empty if all decoders read it
	Picture *Picture // PIL's pixels; nil if PIL does not read it either
}

// forms returns the files that testdata/forms.py writes.
func forms(t testing.TB) map[string]form {
	var golden struct{ Files map[string]form }
	goldenfile.Read(t, "testdata/forms.json.gz", &golden)
	if len(golden.Files) != 14 {
		t.Fatalf("%d files", len(golden.Files))
	}
	return golden.Files
}

// A form that Go's decoder does not read is named in the error, not called damaged. A
// damaged file of any form is called damaged.
func TestValidButUnsupported(t *testing.T) {
	var p Picture
	for name, g := range forms(t) {
		err := decodeGoJPEG(g.File, &p)
		if g.Form == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var u *Unsupported
		if !errors.As(err, &u) || u.Form != g.Form {
			t.Errorf("%s: %v, want %q", name, err, g.Form)
			continue
		}
		// libturbojpeg reads the files that PIL reads, except lossless ones, which
		// it reads from version 3 on.
		other := g.Picture != nil && g.Form != "lossless coding" && g.Form != "2 channels"
		if strings.Contains(err.Error(), "build with -tags turbojpeg") != other || !strings.Contains(err.Error(), "valid, but this build cannot read it ("+g.Form+"); ") {
			t.Errorf("%s: %v", name, err)
		}
		for what, data := range map[string][]byte{
			"cut in two":      g.File[:len(g.File)/2],
			"without its end": g.File[:len(g.File)-2],
			"without a scan":  append(bytes.Clone(g.File[:bytes.Index(g.File, []byte("\xff\xda"))]), 0xff, 0xd9),
			"garbled":         garble(g.File),
		} {
			if err := decodeGoJPEG(data, &p); err == nil || errors.As(err, &u) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// garble puts a marker into the data, where it is invalid.
func garble(file []byte) []byte {
	b := bytes.Clone(file)
	scan := bytes.LastIndex(b, []byte("\xff\xda"))
	copy(b[scan+20:], "\xff\x02")
	return b
}

// A missing or misplaced restart marker is damage, not a form.
func TestRestartsInTheirOrder(t *testing.T) {
	file := forms(t)["progressive with restarts"].File
	at := bytes.Index(file, []byte("\xff\xd1"))
	if at < 0 {
		t.Fatal("no second restart marker")
	}
	var p Picture
	for what, mark := range map[string]byte{"another number": 0xd5, "no marker": 0x00} {
		b := bytes.Clone(file)
		b[at+1] = mark
		var u *Unsupported
		if err := decodeGoJPEG(b, &p); err == nil || errors.As(err, &u) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// PNG has an unsupported form, too.
func TestGreyOf16BitsIsUnsupported(t *testing.T) {
	m := image.NewGray16(image.Rect(0, 0, 3, 2))
	m.SetGray16(1, 1, color.Gray16{Y: 300})
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	var p Picture
	var u *Unsupported
	if err := Decode(b.Bytes(), &p); !errors.As(err, &u) || !strings.Contains(err.Error(), "cannot read it (16-bit grey); save it with 8 bits per channel") {
		t.Errorf("%v", err)
	}
}

func FuzzParseJPEG(f *testing.F) {
	for _, g := range forms(f) {
		f.Add(g.File)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 3 {
			return
		}
		form := parseJPEG(data)
		if form == nil {
			return
		}
		if form.components != len(form.sampling) || form.components == 0 {
			t.Errorf("%+v", form)
		}
		_, _ = form.rareForm(), form.goUnsupported()
	})
}
