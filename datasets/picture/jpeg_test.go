package picture

import (
	"testing"

	"hatchery/datasets/internal/goldenfile"
)

// jpegFiles returns the files that testdata/jpeg.py writes, with PIL's pixels.
func jpegFiles(t testing.TB) map[string]struct {
	File    []byte
	Picture *Picture
} {
	var golden struct {
		Files map[string]struct {
			File    []byte
			Picture *Picture
		}
	}
	goldenfile.Read(t, "testdata/jpeg.json.gz", &golden)
	if len(golden.Files) != 12 {
		t.Fatalf("%d files", len(golden.Files))
	}
	return golden.Files
}

// difference returns the mean and the maximum difference of the values of two pictures
// of the same size.
func difference(t *testing.T, a, b *Picture) (mean float64, most int) {
	t.Helper()
	if a.Width != b.Width || a.Height != b.Height || a.Channels != b.Channels {
		t.Fatalf("%dx%dx%d and %dx%dx%d", a.Width, a.Height, a.Channels, b.Width, b.Height, b.Channels)
	}
	for i, v := range a.Pix {
		d := int(v) - int(b.Pix[i])
		mean += float64(max(d, -d)) / float64(len(a.Pix))
		most = max(most, d, -d)
	}
	return mean, most
}

// Go's decoder rounds its inverse transform differently; nothing else differs.
func TestGoJPEGIsNearPILs(t *testing.T) {
	for name, g := range jpegFiles(t) {
		var p Picture
		if err := decodeGoJPEG(g.File, &p); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if mean, most := difference(t, &p, g.Picture); mean > 0.1 || most > 3 {
			t.Errorf("%s: differs from PIL's by %.3f on average and %d at most", name, mean, most)
		}
	}
}

func BenchmarkDecodeJPEG(b *testing.B) {
	data := jpegFiles(b)["4:2:0"].File
	for name, decode := range map[string]func([]byte, *Picture) error{"go": decodeGoJPEG, "chosen": DecodeJPEG} {
		b.Run(name, func(b *testing.B) {
			var p Picture
			for b.Loop() {
				if err := decode(data, &p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(p.Pix)/3*b.N)/b.Elapsed().Seconds()/1e6, "megapixels/s")
		})
	}
}
