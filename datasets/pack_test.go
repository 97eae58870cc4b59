package datasets

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets/picture"
)

// photographs writes a set of two classes with large and small pictures of all shapes.
func photographs(t *testing.T) Source {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root := t.TempDir()
	for split, n := range map[string]int{"train": 9, "val": 4} {
		for i := range n {
			tex := texture(40+5*i, 60-4*i, 3, uint64(i))
			m := image.NewRGBA(image.Rect(0, 0, tex.Width, tex.Height))
			for p := range tex.Width * tex.Height {
				copy(m.Pix[4*p:], tex.Pix[3*p:3*p+3])
				m.Pix[4*p+3] = 255
			}
			var b bytes.Buffer
			if err := jpeg.Encode(&b, m, nil); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, split, []string{"cat", "dog"}[i%2], fmt.Sprintf("%02d.jpg", i))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			overwrite(t, path, b.Bytes())
		}
	}
	return Source{Name: Folder, Root: root}
}

// evaluated returns the pixels of all images of a set, in evaluation at a size.
func evaluated(t *testing.T, s *Set, size int) []float32 {
	t.Helper()
	l, err := NewEvalLoader(s, Options{Batch: 4, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	var all []float32
	for _, b := range collect(t, l, 0, 0) {
		all = append(all, b.Images...)
	}
	return all
}

func TestPackOfPictures(t *testing.T) {
	src := photographs(t)
	train, eval, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []PackOptions{{}, {Shorter: 40}, {Shorter: 40, Quality: 90}, {Shorter: 1000}, {Shorter: 1000, Quality: 90}} {
		dir := t.TempDir()
		var last string
		o.Progress = func(file string, done, total int) { last = fmt.Sprint(filepath.Base(file), done, total) }
		if err := Pack(t.Context(), src, dir, o); err != nil {
			t.Fatal(err)
		}
		if last != "val.pack4 4" {
			t.Errorf("progress ended with %s", last)
		}
		packed := Source{Name: Folder, Root: dir}
		info, err := Inspect(t.Context(), packed)
		if err != nil || info.Train != 9 || info.Eval != 4 || !slices.Equal(info.Classes, []string{"cat", "dog"}) {
			t.Errorf("%+v, %v", info, err)
		}
		gotTrain, gotEval, err := Open(t.Context(), packed)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(gotTrain.Labels, train.Labels) || !slices.Equal(gotEval.Labels, eval.Labels) || !slices.Equal(gotTrain.Mean, train.Mean) {
			t.Error("other labels")
		}
		var want, got picture.Picture
		for i := range train.Len() {
			if err := errors.Join(train.Store.Load(i, &want), gotTrain.Store.Load(i, &got)); err != nil {
				t.Fatal(err)
			}
			file, w, _, err := gotTrain.Store.(fileStore).file(i, nil)
			if err != nil {
				t.Fatal(err)
			}
			resized := o.Shorter > 0 && min(want.Width, want.Height) > o.Shorter
			if resized != (min(got.Width, got.Height) == o.Shorter && max(got.Width, got.Height) < max(want.Width, want.Height)) {
				t.Errorf("%+v: picture %d of %dx%d became %dx%d", o, i, want.Width, want.Height, got.Width, got.Height)
			}
			if !resized && !bytes.Equal(got.Pix, want.Pix) {
				t.Errorf("%+v: picture %d changed", o, i)
			}
			original, _, _, _ := train.Store.(fileStore).file(i, nil)
			if asItWas := !resized && (o.Shorter == 0 || o.Quality > 0); asItWas != bytes.Equal(file, original) {
				t.Errorf("%+v: picture %d: the file is the original: %t", o, i, !asItWas)
			}
			if raw := w > 0; raw != (o.Shorter > 0 && o.Quality == 0) {
				t.Errorf("%+v: picture %d is raw: %t", o, i, raw)
			}
		}
		// As Effect claims: evaluation at 35 = 40*224/256 sees the same pixels.
		if same := slices.Equal(evaluated(t, gotEval, 35), evaluated(t, eval, 35)); same != (o.Quality == 0 || o.Shorter == 1000) {
			t.Errorf("%+v: evaluation sees the same pixels: %t", o, same)
		}
		if o.Shorter == 40 && !strings.Contains(o.Effect(), "evaluation at up to 35 pixels sees the same") {
			t.Error(o.Effect())
		}
	}
	for _, o := range []PackOptions{{Quality: 90}, {Shorter: -1}, {Shorter: 10, Quality: 101}} {
		if err := Pack(t.Context(), src, t.TempDir(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestPackOfSmallImages(t *testing.T) {
	dir := t.TempDir()
	src := Source{Name: "fashion-mnist-5k"}
	if err := Pack(t.Context(), src, dir, PackOptions{Shorter: 10}); err != nil {
		t.Fatal(err)
	}
	train, eval, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	src.Root = dir
	gotTrain, gotEval, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][2]*Set{{train, gotTrain}, {eval, gotEval}} {
		if !bytes.Equal(s[0].Images, s[1].Images) || !slices.Equal(s[0].Labels, s[1].Labels) || fmt.Sprint(s[0].Spec) != fmt.Sprint(s[1].Spec) {
			t.Error("not the same set")
		}
	}
	src.Train = 100
	if part, _, err := Open(t.Context(), src); err != nil || part.Len() != 100 {
		t.Error(err)
	}
}

// A copy of one part gives the same batches as the part of the whole set.
func TestParts(t *testing.T) {
	for _, src := range []Source{photographs(t), {Name: "fashion-mnist-5k"}} {
		dir := t.TempDir()
		const k = 3
		if err := WriteParts(t.Context(), src, dir, k, 7, PackOptions{}); err != nil {
			t.Fatal(err)
		}
		train, eval, err := Open(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		if train.Store != nil {
			size = 35
		}
		for i := range k {
			want, err := train.Partition(k, i, 7)
			if err != nil {
				t.Fatal(err)
			}
			here := Source{Name: src.Name, Root: filepath.Join(dir, fmt.Sprintf("part-%d", i+1))}
			copied, copiedEval, err := Open(t.Context(), here)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := Inspect(t.Context(), here); err != nil || info.Train != train.Len() {
				t.Errorf("%d images, %v", info.Train, err)
			}
			if copiedEval.Len() != eval.Len() {
				t.Errorf("%d evaluation images", copiedEval.Len())
			}
			got, err := copied.Partition(k, i, 7)
			if err != nil {
				t.Fatal(err)
			}
			if got.Whole != train.Len() || got.Part != want.Part {
				t.Errorf("%v of %d", got.Part, got.Whole)
			}
			opt := Options{Batch: 2, Size: size, Steps: 3}
			a := collect(t, trainLoader(t, want, opt, Training{Seed: 1}), 0, 0)
			b := collect(t, trainLoader(t, got, opt, Training{Seed: 1}), 0, 0)
			if !slices.EqualFunc(a, b, equal) {
				t.Errorf("part %d: other batches", i)
			}
			// It cannot be used as the whole set or as another part.
			if _, err := NewTrainLoader(copied, opt, Training{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has only part %d of 3 (seed 7) of the training images", i+1)) {
				t.Errorf("error %v", err)
			}
			half := here
			half.Fraction = 0.5
			if err := Check(t.Context(), half); err == nil || !strings.Contains(err.Error(), "so a subset of all images cannot be taken") {
				t.Errorf("half of the set in a part of it: %v", err)
			}
			if half, err := copied.Fraction(0.5, 1); err != nil {
				t.Error(err)
			} else if _, err := NewTrainLoader(half, opt, Training{}); err == nil {
				t.Error("half of a part was taken for half of the set")
			}
			if _, err := copied.Partition(k, (i+1)%k, 7); err == nil || !strings.Contains(err.Error(), "this copy, which has only part") {
				t.Errorf("error %v", err)
			}
			if err := Pack(t.Context(), here, t.TempDir(), PackOptions{}); err == nil {
				t.Error("a part was packed as the whole")
			}
		}
	}
}

func TestBadPacks(t *testing.T) {
	src := photographs(t)
	for name, c := range map[string]struct {
		spoil func(data []byte) []byte // nil: the file is removed
		want  string
	}{
		"missing":        {nil, "has train.pack and lacks val.pack"},
		"empty":          {func(d []byte) []byte { return nil }, "a file of 0 bytes"},
		"no pack":        {func(d []byte) []byte { return []byte("<!DOCTYPE html>") }, "not a pack"},
		"truncated":      {func(d []byte) []byte { return d[:len(d)-1] }, "it is truncated or was modified"},
		"too long":       {func(d []byte) []byte { return append(d, 0) }, "it is truncated or was modified"},
		"damaged index":  {func(d []byte) []byte { d[len(d)-1]++; return d }, "the checksum of the index"},
		"damaged header": {func(d []byte) []byte { d[31] = 1; return d }, "does not fit"},
		"damaged image":  {func(d []byte) []byte { d[packHeader+100]++; return d }, "val.pack: image 0 at byte 64: checksum is"},
	} {
		dir := t.TempDir()
		if err := Pack(t.Context(), src, dir, PackOptions{}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "val.pack")
		data := readFile(t, path)
		if err := os.Remove(path); err != nil { // a pack may be in use, so it is replaced
			t.Fatal(err)
		}
		if c.spoil != nil {
			overwrite(t, path, c.spoil(data))
		}
		_, eval, err := Open(t.Context(), Source{Name: Folder, Root: dir})
		if err == nil {
			var p picture.Picture
			err = eval.Store.Load(0, &p)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		// Verify finds every fault.
		if err := Verify(t.Context(), Source{Name: Folder, Root: dir}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: verified: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := Pack(t.Context(), src, dir, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cifar-10": "train.pack is a pack of the data set folder", "imagenet-1k": "train.pack is a pack of the data set folder"} {
		if err := Check(t.Context(), Source{Name: name, Root: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if err := errors.Join(
		os.Rename(filepath.Join(dir, "train.pack"), filepath.Join(dir, "x")),
		os.Rename(filepath.Join(dir, "val.pack"), filepath.Join(dir, "train.pack")),
		os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "val.pack"))); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), Source{Name: Folder, Root: dir}); err == nil || !strings.Contains(err.Error(), "has the split val, want train") {
		t.Errorf("error %v", err)
	}
}

// A pack that cannot be finished leaves no files.
func TestPackIsWholeOrNotThere(t *testing.T) {
	src := photographs(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	err := Pack(ctx, src, dir, PackOptions{Progress: func(string, int, int) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, bad := range []string{"train", "val"} {
		overwrite(t, filepath.Join(src.Root, bad, "cat", "00.jpg"), []byte("no picture"))
		if err := Pack(t.Context(), src, dir, PackOptions{}); err == nil || !strings.Contains(err.Error(), filepath.Join(bad, "cat", "00.jpg")) {
			t.Errorf("a bad picture in %s: %v", bad, err)
		}
		overwrite(t, filepath.Join(src.Root, bad, "cat", "00.jpg"), readFile(t, filepath.Join(src.Root, bad, "cat", "02.jpg")))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "train.pack" { // complete before val failed
			continue
		}
		t.Errorf("%s is left", e.Name())
	}
	if err := Check(t.Context(), Source{Name: Folder, Root: dir}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a pack: %v", err)
	}
}

func FuzzPack(f *testing.F) {
	var seed bytes.Buffer
	dir := f.TempDir()
	set := testSet(3)
	if err := writeSplit(context.Background(), set, dir, 0, PackOptions{}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "train.pack"))
	if err != nil {
		f.Fatal(err)
	}
	seed.Write(data)
	f.Add(seed.Bytes(), []byte{})
	f.Add(seed.Bytes()[:70], []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data, index []byte) {
		// With a wrong checksum, most inputs would be rejected at once: correct it.
		data = mendPack(data, index)
		p, err := parsePack(data)
		if err != nil {
			return
		}
		s := p.set(Spec{})
		if p.fixed() && len(s.Images) != s.Len()*s.pixels() {
			t.Errorf("%d bytes of %d images", len(s.Images), s.Len())
		}
		var out picture.Picture
		for i := range s.Len() {
			_ = p.Load(i, &out)
		}
	})
}

// mendPack appends an index with the description of a good pack and corrects the length
// and the checksum.
func mendPack(data, index []byte) []byte {
	if len(data) < packHeader {
		return data
	}
	le := binary.LittleEndian
	at := le.Uint64(data[16:])
	if len(index) > 0 {
		at = uint64(len(data))
		data = append(bytes.Clone(data), index...)
		data = append(data, `{"Classes":["a","b"],"Channels":1}`...)
		le.PutUint64(data[16:], at)
		le.PutUint64(data[24:], uint64(len(index)/packEntry))
	}
	le.PutUint64(data[32:], uint64(len(data)))
	if at <= uint64(len(data)) {
		le.PutUint32(data[40:], crc32.Checksum(data[at:], castagnoli))
	}
	return data
}
