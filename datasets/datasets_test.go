package datasets

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/idx"
)

func TestEmbedded(t *testing.T) {
	src := Source{Name: "fashion-mnist-5k"}
	if err := Check(t.Context(), src); err != nil {
		t.Error(err)
	}
	train, eval, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	info, err := Describe(src.Name)
	if err != nil {
		t.Fatal(err)
	}
	if train.Len() != info.Train || eval.Len() != info.Eval || info.Train != 5000 || info.Eval != 1000 {
		t.Errorf("%d and %d images, described as %d and %d", train.Len(), eval.Len(), info.Train, info.Eval)
	}
	for _, s := range []*Set{train, eval} {
		if err := s.check(); err != nil {
			t.Error(err)
		}
		counts := make([]int, 10)
		for _, c := range s.Labels {
			counts[c]++
		}
		if slices.Min(counts) != s.Len()/10 || slices.Max(counts) != s.Len()/10 {
			t.Errorf("images of each class: %v", counts)
		}
	}
	// Ankle boot, T-shirt, T-shirt, dress, T-shirt, pullover, ...: the first training
	// images of Fashion-MNIST.
	if want := []int32{9, 0, 0, 3, 0, 2, 7, 2, 5, 5}; !slices.Equal(train.Labels[:10], want) {
		t.Errorf("labels %v, want %v", train.Labels[:10], want)
	}
	again, _, err := Open(t.Context(), src)
	if err != nil || again != train {
		t.Errorf("decoded twice, error %v", err)
	}
	src.Root = "/data"
	for _, err := range []error{Check(t.Context(), src), second(Open(t.Context(), src))} {
		if err == nil || !strings.Contains(err.Error(), "the root is /data: leave it empty") {
			t.Errorf("with a root: %v", err)
		}
	}
}

// checkSmall is Check for the set small, which is not in the list.
func checkSmall(ctx context.Context, src Source) error {
	_, err := small.inspect(ctx, src)
	return err
}

func second(_, _ *Set, err error) error { return err }

// The embedded set is as make.go describes, and the normalisation is that of the real
// training images.
func TestAgainstTheFullSet(t *testing.T) {
	train, eval, err := Open(t.Context(), Source{Name: "fashion-mnist"})
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("Fashion-MNIST is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), Source{Name: "fashion-mnist", Train: 30000}); err != nil {
		t.Error(err)
	}
	smallTrain, smallEval, err := Open(t.Context(), Source{Name: "fashion-mnist-5k"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		full, small *Set
		perClass    int
	}{{train, smallTrain, 500}, {eval, smallEval, 100}} {
		var taken [10]int
		var images []uint8
		var labels []int32
		for i, class := range c.full.Labels {
			if taken[class]++; taken[class] <= c.perClass {
				images, labels = append(images, c.full.Image(i)...), append(labels, class)
			}
		}
		if !slices.Equal(labels, c.small.Labels) || !bytes.Equal(images, c.small.Images) {
			t.Errorf("not the first %d of each class", c.perClass)
		}
	}
	mean, std := moments(train, 0)
	if float32(mean) != train.Mean[0] || float32(std) != train.Std[0] {
		t.Errorf("mean %.8f and deviation %.8f, the set says %v and %v", mean, std, train.Mean, train.Std)
	}
}

// moments returns the mean and the standard deviation of a channel, pixels in 0..1.
func moments(s *Set, channel int) (mean, std float64) {
	var sum, square float64
	size := s.Height * s.Width
	for i := range s.Len() {
		for _, v := range s.Image(i)[channel*size:][:size] {
			x := float64(v) / 255
			sum += x
			square += x * x
		}
	}
	n := float64(s.Len() * size)
	mean = sum / n
	return mean, math.Sqrt(square/n - mean*mean)
}

func TestUnknownName(t *testing.T) {
	for _, err := range []error{
		second(Open(t.Context(), Source{Name: "fashon-mnist"})),
		Check(t.Context(), Source{Name: "fashon-mnist"}),
		func() error { _, err := Describe("fashon-mnist"); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), `"fashon-mnist"; known are fashion-mnist-5k, fashion-mnist, `) {
			t.Errorf("error %v", err)
		}
	}
}

// small is a data set of 20 and 10 images of 3x2 pixels.
var small = &dataset{
	info:   Info{Spec: Spec{Name: "small", Classes: []string{"cat", "dog"}, Channels: 1, Height: 3, Width: 2, Mean: []float32{0}, Std: []float32{1}}, Train: 20, Eval: 10},
	format: idxFormat(mnistFiles(20, 10)),
	hint:   "draw them",
}

// writeSmall writes good files into a folder and returns it.
func writeSmall(t *testing.T, compress bool) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range small.format.(idxFormat) {
		var labels, pixels []byte
		for i := range s.count {
			labels = append(labels, byte(i%2))
			for p := range 6 {
				pixels = append(pixels, byte(i*6+p))
			}
		}
		write(t, dir, s.images, encode(t, []int{s.count, 3, 2}, pixels), compress)
		write(t, dir, s.labels, encode(t, []int{s.count}, labels), compress)
	}
	return dir
}

func encode(t *testing.T, shape []int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := idx.Write(&b, shape, data); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, dir, name string, data []byte, compress bool) {
	t.Helper()
	if compress {
		name += ".gz"
		data = gzipped(t, data)
	}
	overwrite(t, filepath.Join(dir, name), data)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func overwrite(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFolder(t *testing.T) {
	for name, dir := range map[string]string{
		"plain":      writeSmall(t, false),
		"compressed": writeSmall(t, true),
		"unpacked by a browser, name kept": func() string {
			dir := writeSmall(t, true)
			data := readFile(t, filepath.Join(writeSmall(t, false), "train-images-idx3-ubyte"))
			overwrite(t, filepath.Join(dir, "train-images-idx3-ubyte.gz"), data)
			return dir
		}(),
		"gzip of two members": func() string { // its last bytes do not say its size
			dir := writeSmall(t, true)
			data := readFile(t, filepath.Join(writeSmall(t, false), "train-images-idx3-ubyte"))
			data = append(gzipped(t, data[:50]), gzipped(t, data[50:])...)
			overwrite(t, filepath.Join(dir, "train-images-idx3-ubyte.gz"), data)
			return dir
		}(),
	} {
		src := Source{Root: dir, Eval: 4}
		if err := checkSmall(t.Context(), src); err != nil {
			t.Errorf("%s: check: %v", name, err)
		}
		train, eval, err := small.load(t.Context(), src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if train.Len() != 20 || eval.Len() != 4 || !bytes.Equal(train.Image(3), []byte{18, 19, 20, 21, 22, 23}) || train.Labels[3] != 1 {
			t.Errorf("%s: %d and %d images, image 3 is %v of class %d", name, train.Len(), eval.Len(), train.Image(3), train.Labels[3])
		}
	}
}

func TestUsualPlaces(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	err := checkSmall(t.Context(), Source{})
	for _, want := range []string{filepath.Join(home, "hatchery", "small") + " does not exist", "/usr/share/datasets/small does not exist", "; draw them"} {
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := os.MkdirAll(filepath.Join(home, "hatchery"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(writeSmall(t, true), filepath.Join(home, "hatchery", "small")); err != nil {
		t.Fatal(err)
	}
	if err := checkSmall(t.Context(), Source{}); err != nil {
		t.Error(err)
	}
	t.Setenv("XDG_DATA_HOME", "relative") // to be ignored
	if dirs := defaultFolders("x"); slices.ContainsFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) }) {
		t.Errorf("default folders %v", dirs)
	}
}

func TestBadFolders(t *testing.T) {
	const images, labels, testLabels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
	// Each case spoils one plain (or compressed) file of a good folder. The error names
	// the file and contains want.
	for name, c := range map[string]struct {
		file       string
		compressed bool
		spoil      func(t *testing.T, data []byte) []byte // nil: the file is removed
		want       string
		openOnly   bool // only Open has to find it
	}{
		"missing":                 {file: testLabels, want: "lacks t10k-labels-idx1-ubyte[.gz]; draw them"},
		"empty":                   {file: images, spoil: func(_ *testing.T, d []byte) []byte { return nil }, want: "byte 0: the file is truncated"},
		"truncated":               {file: images, spoil: func(_ *testing.T, d []byte) []byte { return d[:100] }, want: "byte 100: the file is truncated, it should have 136 bytes"},
		"truncated labels":        {file: labels, spoil: func(_ *testing.T, d []byte) []byte { return d[:20] }, want: "byte 20: the file is truncated, it should have 28 bytes"},
		"truncated gzip":          {file: images, compressed: true, spoil: func(_ *testing.T, d []byte) []byte { return d[:len(d)-20] }, want: " (unpacked): byte"},
		"gzip without its end":    {file: images, compressed: true, spoil: func(_ *testing.T, d []byte) []byte { return d[:len(d)-3] }, want: "truncated"},
		"gzip with a wrong sum":   {file: images, compressed: true, spoil: func(_ *testing.T, d []byte) []byte { d[len(d)-8]++; return d }, want: "checksum", openOnly: true},
		"too long":                {file: images, spoil: func(_ *testing.T, d []byte) []byte { return append(d, 0) }, want: "byte 136: data after the last"},
		"not gzip after all":      {file: labels, compressed: true, spoil: func(_ *testing.T, d []byte) []byte { return []byte("\x1f\x8bnonsense and more") }, want: "gzip header"},
		"labels instead":          {file: images, spoil: func(t *testing.T, _ []byte) []byte { return encode(t, []int{20}, make([]byte, 20)) }, want: "byte 0: magic number is 0x00000801, want 0x00000803"},
		"an HTML page instead":    {file: images, spoil: func(_ *testing.T, _ []byte) []byte { return []byte("<!DOCTYPE html>") }, want: "byte 0: magic number"},
		"images of another size":  {file: images, spoil: func(t *testing.T, _ []byte) []byte { return encode(t, []int{20, 2, 3}, make([]byte, 120)) }, want: "byte 8: the images are 2x3, want 3x2 of small"},
		"fewer images":            {file: images, spoil: func(t *testing.T, _ []byte) []byte { return encode(t, []int{10, 3, 2}, make([]byte, 60)) }, want: "byte 4: the file has 10 images, want 20 of small"},
		"more labels than images": {file: labels, spoil: func(t *testing.T, _ []byte) []byte { return encode(t, []int{21}, make([]byte, 21)) }, want: "byte 4: the file has 21 labels, want 20 of small, one for each image of train-images"},
		"label out of range":      {file: labels, spoil: func(_ *testing.T, d []byte) []byte { d[8+5] = 2; return d }, want: "byte 13: label 2, want 0 to 1"},
		"absurd header":           {file: images, spoil: func(_ *testing.T, d []byte) []byte { copy(d[4:], "\x7f\xff\xff\xff\x7f\xff\xff\xff"); return d }, want: "byte 4: shape"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeSmall(t, c.compressed)
			path := filepath.Join(dir, c.file)
			if c.compressed {
				path += ".gz"
			}
			if c.spoil == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				path = dir
			} else {
				overwrite(t, path, c.spoil(t, readFile(t, path)))
			}
			errs := []error{second(small.load(t.Context(), Source{Root: dir}))}
			if !c.openOnly {
				errs = append(errs, checkSmall(t.Context(), Source{Root: dir}))
			}
			for _, err := range errs {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("error %v, want %s and %q", err, path, c.want)
				}
			}
		})
	}
}

func TestRootIsNotAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	overwrite(t, file, nil)
	if err := checkSmall(t.Context(), Source{Root: file}); err == nil || !strings.Contains(err.Error(), file+" is not a folder") {
		t.Errorf("error %v", err)
	}
}

func TestOpenIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := small.load(ctx, Source{Root: writeSmall(t, true)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestBalanced(t *testing.T) {
	set := testSet(100) // 34, 33 and 33 of the three classes
	indices := func(s *Set) (is []int) {
		for i := range s.Len() {
			is = append(is, int(s.Image(i)[0])-10)
			if s.Labels[i] != int32(is[i]%3) {
				t.Errorf("image %d has label %d", is[i], s.Labels[i])
			}
		}
		return is
	}
	var previous []int
	for _, n := range []int{1, 2, 3, 7, 30, 99, 100} {
		part, err := set.Balanced(n, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := part.check(); err != nil {
			t.Error(err)
		}
		got := indices(part)
		if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != n {
			t.Errorf("part of %d: %v", n, got)
		}
		counts := make([]int, 3)
		for _, c := range part.Labels {
			counts[c]++
		}
		for c, have := range counts {
			want := n / 3
			if c < n%3 {
				want++
			}
			if have != want {
				t.Errorf("part of %d: %v of each class", n, counts)
			}
		}
		for _, i := range previous {
			if !slices.Contains(got, i) {
				t.Errorf("part of %d does not have image %d of the smaller one", n, i)
			}
		}
		previous = got
	}
	a, _ := set.Balanced(30, 1)
	b, _ := set.Balanced(30, 1)
	c, _ := set.Balanced(30, 2)
	if !slices.Equal(indices(a), indices(b)) {
		t.Error("not repeatable")
	}
	if slices.Equal(indices(a), indices(c)) {
		t.Error("another seed has the same part")
	}
}

func TestBalancedRefuses(t *testing.T) {
	set := testSet(100)
	set.Labels[1] = 0 // 35, 32 and 33
	for n, want := range map[int]string{
		-1:  "cannot take -1 images of test, which has 100: want 1 to 100",
		0:   "want 1 to 100",
		101: "want 1 to 100",
		99:  `a class-balanced part of 99 images needs 33 of class "b", but test has 32`,
	} {
		if _, err := set.Balanced(n, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("part of %d: error %v, want %q", n, err, want)
		}
	}
	for _, src := range []Source{{Name: "fashion-mnist-5k", Train: 5001}, {Name: "fashion-mnist-5k", Eval: -5}} {
		open, check := second(Open(t.Context(), src)), Check(t.Context(), src)
		if open == nil || check == nil || open.Error() != check.Error() {
			t.Errorf("%+v: Open says %v, Check says %v", src, open, check)
		}
	}
}
