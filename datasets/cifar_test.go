package datasets

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tinyCIFAR returns a set like CIFAR-10 or CIFAR-100, but with few images and three
// classes.
func tinyCIFAR(full *dataset) *dataset {
	d := *full
	d.info.Classes = []string{"cat", "dog", "cow"}
	d.info.Train, d.info.Eval = 30, 6
	d.hint = "draw them"
	return &d
}

// cifarFiles returns the files of a tiny set. Pixel p of image i is i+p.
func cifarFiles(d *dataset) map[string][]byte {
	f := d.format.(cifarFormat)
	files := map[string][]byte{
		f.names:       []byte(strings.Join(d.info.Classes, "\n") + "\n\n"),
		"readme.html": []byte("<html>"),
	}
	for split, n := range []int{d.info.Train, d.info.Eval} {
		per := n / len(f.splits[split])
		for i := range n {
			name := f.splits[split][i/per]
			record := make([]byte, f.labels+3072)
			record[0] = 19 // the coarse label
			record[f.labels-1] = byte(i % 3)
			for p := range 3072 {
				record[f.labels+p] = byte(i + p)
			}
			files[name] = append(files[name], record...)
		}
	}
	return files
}

func tarGz(t *testing.T, folder string, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	names := []string{folder + "/"}
	for name := range files {
		names = append(names, folder+"/"+name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(files[filepath.Base(name)]))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size, h.Mode = tar.TypeDir, 0, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[filepath.Base(name)][:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func writeAll(t *testing.T, dir string, files map[string][]byte) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		overwrite(t, filepath.Join(dir, name), data)
	}
	return dir
}

func TestCIFAR(t *testing.T) {
	for _, full := range []*dataset{&cifar10, &cifar100} {
		d := tinyCIFAR(full)
		f := d.format.(cifarFormat)
		files := cifarFiles(d)
		archived := writeAll(t, t.TempDir(), map[string][]byte{f.archive: tarGz(t, f.folder, files)})
		above := t.TempDir()
		for place, root := range map[string]string{
			"unpacked":              writeAll(t, t.TempDir(), files),
			"the folder above":      filepath.Dir(writeAll(t, filepath.Join(above, f.folder), files)),
			"archive in the folder": archived,
			"archive itself":        filepath.Join(archived, f.archive),
		} {
			src := Source{Root: root, Fraction: 0.5}
			if info, err := d.inspect(t.Context(), src); err != nil || info.Train != 30 || info.Eval != 6 {
				t.Errorf("%s, %s: %d and %d images, %v", d.info.Name, place, info.Train, info.Eval, err)
			}
			train, eval, err := d.load(t.Context(), Source{Root: root})
			if err != nil {
				t.Errorf("%s, %s: %v", d.info.Name, place, err)
				continue
			}
			for _, s := range []*Set{train, eval} {
				if err := s.check(); err != nil {
					t.Error(err)
				}
				for i := range s.Len() {
					if s.Labels[i] != int32(i%3) || s.Image(i)[0] != byte(i) || s.Image(i)[3071] != byte(i+255) {
						t.Errorf("%s, %s: image %d is of class %d and begins with %d", d.info.Name, place, i, s.Labels[i], s.Image(i)[0])
					}
				}
			}
			if half, _, err := d.load(t.Context(), src); err != nil || half.Len() != 15 || half.Whole != 30 {
				t.Errorf("%s, %s: half: %v", d.info.Name, place, err)
			}
		}
	}
}

// The known properties of the real sets, if they are installed.
func TestRealCIFAR(t *testing.T) {
	for _, d := range []*dataset{&cifar10, &cifar100} {
		t.Run(d.info.Name, func(t *testing.T) {
			train, eval, err := Open(t.Context(), Source{Name: d.info.Name})
			if errors.Is(err, fs.ErrNotExist) {
				t.Skip("the data set is not installed")
			}
			if err != nil {
				t.Fatal(err)
			}
			for c := range 3 {
				mean, std := moments(train, c)
				if math.Abs(mean-float64(train.Mean[c])) > 1e-6 || math.Abs(std-float64(train.Std[c])) > 1e-6 {
					t.Errorf("channel %d has mean %.8f and deviation %.8f", c, mean, std)
				}
			}
			for _, s := range []*Set{train, eval} {
				if counts := perClass(&s.Spec, s.Labels); slices.Min(counts) != slices.Max(counts) {
					t.Errorf("%v images of each class", counts)
				}
			}
		})
	}
}

func TestDescribeCIFAR(t *testing.T) {
	for name, classes := range map[string]int{"cifar-10": 10, "cifar-100": 100} {
		info, err := Describe(name)
		if err != nil || len(info.Classes) != classes || info.Train != 50000 || info.Eval != 10000 || info.pixels() != 3072 {
			t.Errorf("%+v, %v", info, err)
		}
		if !slices.IsSorted(info.Classes) && name == "cifar-100" {
			t.Errorf("%s: the classes are not in alphabetical order", name)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(info.Classes)))) != classes {
			t.Errorf("%s: a class twice", name)
		}
	}
}

func TestBadCIFAR(t *testing.T) {
	d := tinyCIFAR(&cifar100)
	f := d.format.(cifarFormat)
	for name, c := range map[string]struct {
		spoil func(files map[string][]byte)
		want  string
	}{
		"truncated":      {func(m map[string][]byte) { m["train.bin"] = m["train.bin"][:5000] }, "train.bin: byte 5000: the file is truncated, it should have 92220 bytes, 30 records of 3074"},
		"empty":          {func(m map[string][]byte) { m["test.bin"] = nil }, "test.bin: byte 0: the file is truncated"},
		"too long":       {func(m map[string][]byte) { m["test.bin"] = append(m["test.bin"], 0) }, "test.bin: byte 18444: data after the last of 6 records"},
		"mislabelled":    {func(m map[string][]byte) { m["train.bin"][3074*7+1] = 3 }, "train.bin: byte 21519: label 3, want 0 to 2"},
		"other classes":  {func(m map[string][]byte) { m[f.names] = []byte("cat\ndog\nhen\n") }, "fine_label_names.txt: the classes are 3 (cat, dog, hen), want 3 (cat, dog, cow)"},
		"another set":    {func(m map[string][]byte) { m[f.names] = []byte(strings.Join(cifar100.info.Classes, "\n")) }, "the classes are 100 (apple, aquarium_fish"},
		"a file missing": {func(m map[string][]byte) { delete(m, "test.bin") }, "lacks test.bin"},
		"an extra file":  {func(m map[string][]byte) { m["notes.txt"] = []byte("mine") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := cifarFiles(d)
			c.spoil(files)
			unpacked := writeAll(t, t.TempDir(), files)
			archived := writeAll(t, t.TempDir(), map[string][]byte{f.archive: tarGz(t, f.folder, files)})
			for _, root := range []string{unpacked, archived} {
				_, checked := d.inspect(t.Context(), Source{Root: root})
				for _, err := range []error{checked, second(d.load(t.Context(), Source{Root: root}))} {
					if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), root)) {
						t.Errorf("error %v, want %s and %q", err, root, c.want)
					}
				}
			}
		})
	}
}

func TestBadCIFARArchive(t *testing.T) {
	d := tinyCIFAR(&cifar10)
	f := d.format.(cifarFormat)
	good := tarGz(t, f.folder, cifarFiles(d))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"cut":          {good[:len(good)/2], "the file is truncated"},
		"without end":  {good[:len(good)-4], "the file is truncated"},
		"wrong sum":    {append(append([]byte{}, good[:len(good)-8]...), good[len(good)-8]^1, 0, 0, 0, 0, 0, 0, 0), "checksum"},
		"not gzip":     {[]byte("<!DOCTYPE html>"), "gzip header"},
		"empty":        {nil, "gzip header: the file is truncated"},
		"another one":  {tarGz(t, "cifar-100-binary", cifarFiles(tinyCIFAR(&cifar100))), "the archive lacks data_batch_1.bin, data_batch_2.bin"},
		"gzip, no tar": {gzipped(t, []byte("nothing")), "cifar-10-binary.tar.gz: "},
	} {
		root := writeAll(t, t.TempDir(), map[string][]byte{f.archive: c.data})
		if _, _, err := d.load(t.Context(), Source{Root: root}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), f.archive) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := writeAll(t, t.TempDir(), map[string][]byte{f.archive: good})
	if _, _, err := d.load(ctx, Source{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
