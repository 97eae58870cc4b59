package datasets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hatchery/datasets/internal/goldenfile"
	"hatchery/datasets/picture"
)

// jpegFile returns a picture of one grey value.
func jpegFile(t testing.TB, value uint8, w, h int) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = value
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngFile(t testing.TB, value uint8, w, h int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.Set(i%w, i/w, color.RGBA{value, value, value, 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pictureFolder writes a set of 3 classes with 4 training and 2 evaluation pictures each;
// picture i of a split has the grey value 10*i. Its folders have old times.
func pictureFolder(t testing.TB) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root := t.TempDir()
	for split, n := range map[string]int{"train": 4, "val": 2} {
		i := 0
		for _, class := range []string{"cat", "cat-fish", "dog"} {
			for j := range n {
				// They are written in their order: by folder, then by name.
				name := []string{"IMG_9.JPEG", "b.jpg", "more/0.jpeg", "more/deep/x.PNG"}[j+4-n]
				data := jpegFile(t, uint8(10*i), 8+i, 6)
				if strings.HasSuffix(name, "PNG") {
					data = pngFile(t, uint8(10*i), 8+i, 6)
				}
				path := filepath.Join(root, split, class, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				overwrite(t, path, data)
				i++
			}
		}
	}
	overwrite(t, filepath.Join(root, "train", "notes.txt"), []byte("mine"))
	overwrite(t, filepath.Join(root, "train", "cat", "._IMG_9.JPEG"), []byte("of a Macintosh"))
	overwrite(t, filepath.Join(root, "train", "cat", "list.csv"), []byte("IMG_9"))
	age(t, root)
	return root
}

// age makes all files and folders older than mtimeStep.
func age(t testing.TB, root string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func openFolder(t *testing.T, root string) (train, eval *Set) {
	t.Helper()
	train, eval, err := Open(t.Context(), Source{Name: "folder", Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return train, eval
}

func TestPictureFolder(t *testing.T) {
	root := pictureFolder(t)
	for try := range 2 { // from the folders, then from the index
		train, eval := openFolder(t, root)
		for _, s := range []*Set{train, eval} {
			if !slices.Equal(s.Classes, []string{"cat", "cat-fish", "dog"}) || s.Channels != 3 || s.Height != 0 || s.Width != 0 {
				t.Errorf("%+v", s.Spec)
			}
			per := s.Len() / 3
			var p picture.Picture
			for i := range s.Len() {
				if err := s.Store.Load(i, &p); err != nil {
					t.Error(err)
					continue
				}
				if s.Labels[i] != int32(i/per) || p.Width != 8+i || p.Height != 6 || p.Channels != 3 || int(p.Pix[0])-10*i > 1 || 10*i-int(p.Pix[0]) > 1 {
					t.Errorf("try %d: picture %d of %d: class %d, %dx%d, %d bright", try, i, s.Len(), s.Labels[i], p.Width, p.Height, p.Pix[0])
				}
			}
		}
		if train.Len() != 12 || eval.Len() != 6 {
			t.Errorf("%d and %d pictures", train.Len(), eval.Len())
		}
	}
	info, err := Inspect(t.Context(), Source{Name: "folder", Root: root, Train: 6})
	if err != nil || info.Train != 12 || info.Eval != 6 || len(info.Classes) != 3 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := Check(t.Context(), Source{Name: "folder", Root: root, Train: 13}); err == nil {
		t.Error("13 of 12 pictures: no error")
	}
	if _, _, err := Open(t.Context(), Source{Name: "folder"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no root is set") {
		t.Errorf("no root: %v", err)
	}
}

// The index is used, but not once it is out of date.
func TestIndexIsNeverStale(t *testing.T) {
	root := pictureFolder(t)
	train := filepath.Join(root, "train")
	index := indexPath(train, "index")
	count := func() int {
		s, _ := openFolder(t, root)
		return s.Len()
	}
	change := func(what string, f func() error, want int) {
		t.Helper()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != want {
			t.Errorf("%s: %d pictures, want %d", what, got, want)
		}
		age(t, root) // to another time than before
		if got := count(); got != want {
			t.Errorf("%s, aged: %d pictures, want %d", what, got, want)
		}
	}
	if count(); readIndex(t.Context(), train, index) == nil {
		t.Fatal("no index was written")
	}
	// The index is used as long as the times agree.
	l := readIndex(t.Context(), train, index)
	l.dirs[1].names = l.dirs[1].names[:1]
	overwrite(t, index, l.encode())
	if got := count(); got != 11 {
		t.Errorf("%d pictures, the index has 11", got)
	}
	overwrite(t, index, []byte("hatchery index 1 00000000\nnonsense"))

	cat := filepath.Join(train, "cat")
	more := jpegFile(t, 1, 2, 2)
	change("one more", func() error { return os.WriteFile(filepath.Join(cat, "new.jpg"), more, 0o644) }, 13)
	change("one less", func() error { return os.Remove(filepath.Join(cat, "new.jpg")) }, 12)
	change("one more deep down", func() error { return os.WriteFile(filepath.Join(cat, "more", "deep", "new.jpg"), more, 0o644) }, 13)
	change("a folder less", func() error { return os.RemoveAll(filepath.Join(cat, "more")) }, 10)
	change("a folder of another name", func() error {
		return os.Rename(filepath.Join(train, "dog", "more"), filepath.Join(train, "dog", "else"))
	}, 10)
	change("a folder moved", func() error { return os.Rename(filepath.Join(train, "dog", "else"), filepath.Join(cat, "else")) }, 10)

	// Two changes within the resolution of the file system's time are seen: no index is
	// written of folders that were changed just now.
	overwrite(t, filepath.Join(cat, "just-now.jpg"), more)
	count()
	if l := readIndex(t.Context(), train, index); l != nil {
		t.Error("an index of a folder that was changed this moment")
	}
}

func TestLinkedFolders(t *testing.T) {
	root := pictureFolder(t)
	elsewhere := t.TempDir()
	dog := filepath.Join(root, "train", "dog")
	if err := os.Rename(dog, filepath.Join(elsewhere, "dog")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "dog"), dog); err != nil {
		t.Skip("no symbolic links here")
	}
	if train, _ := openFolder(t, root); train.Len() != 12 {
		t.Errorf("%d pictures", train.Len())
	}
	if err := os.Symlink(filepath.Join(root, "train"), filepath.Join(elsewhere, "dog", "back")); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), Source{Name: "folder", Root: root}); err == nil || !strings.Contains(err.Error(), "link to a folder that contains it") || !strings.Contains(err.Error(), "back") {
		t.Errorf("error %v", err)
	}
}

func TestBadPictureFolders(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(root string) error
		want  string
	}{
		"no val":        {func(root string) error { return os.RemoveAll(filepath.Join(root, "val")) }, "lacks a folder val"},
		"val is test":   {func(root string) error { return os.Rename(filepath.Join(root, "val"), filepath.Join(root, "test")) }, ""},
		"class missing": {func(root string) error { return os.RemoveAll(filepath.Join(root, "val", "dog")) }, `val has no folder for class "dog"`},
		"class too many": {func(root string) error {
			return os.Rename(filepath.Join(root, "val", "dog"), filepath.Join(root, "val", "emu"))
		}, `no folder for class "dog"`},
		"class of val": {func(root string) error { return os.Mkdir(filepath.Join(root, "val", "emu"), 0o755) }, filepath.Join("val", "emu") + ": "},
		"empty class": {func(root string) error {
			return errors.Join(os.RemoveAll(filepath.Join(root, "train", "dog")), os.Mkdir(filepath.Join(root, "train", "dog"), 0o755))
		}, filepath.Join("train", "dog") + ": no pictures"},
		"flat val": {func(root string) error {
			return errors.Join(os.RemoveAll(filepath.Join(root, "val")), os.Mkdir(filepath.Join(root, "val"), 0o755))
		}, "val has no folders of classes"},
		"another format": {func(root string) error { return os.WriteFile(filepath.Join(root, "val", "dog", "x.webp"), nil, 0o644) }, "x.webp: pictures of this kind cannot be read: convert"},
		"a broken link":  {func(root string) error { return os.Symlink("nowhere", filepath.Join(root, "val", "dog", "x.jpg")) }, "x.jpg"},
		"root not there": {func(root string) error { return os.RemoveAll(root) }, "does not exist"},
		"root is a file": {func(root string) error { return errors.Join(os.RemoveAll(root), os.WriteFile(root, nil, 0o644)) }, "is not a folder"},
		"class of train": {func(root string) error {
			return os.Rename(filepath.Join(root, "train", "cat", "more"), filepath.Join(root, "train", "emu"))
		}, `val has no folder for class "emu"`},
	} {
		root := pictureFolder(t)
		if err := c.spoil(root); err != nil {
			t.Fatal(err)
		}
		err := Check(t.Context(), Source{Name: "folder", Root: root})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), root)) {
			t.Errorf("%s: error %v, want %s and %q", name, err, root, c.want)
		}
	}
}

func TestCorruptPictures(t *testing.T) {
	root := pictureFolder(t)
	train := filepath.Join(root, "train")
	whole := readFile(t, filepath.Join(train, "cat", "IMG_9.JPEG"))
	for name, data := range map[string][]byte{"cat/b.jpg": nil, "cat-fish/IMG_9.JPEG": whole[:len(whole)/2], "dog/more/0.jpeg": []byte("<html>")} {
		overwrite(t, filepath.Join(train, filepath.FromSlash(name)), data)
	}
	age(t, root)
	set, _ := openFolder(t, root)
	var p picture.Picture
	for i, want := range map[int]string{1: "b.jpg: the file is empty", 4: "IMG_9.JPEG: ", 10: "0.jpeg: neither JPEG nor PNG"} {
		if err := set.Store.Load(i, &p); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), train) {
			t.Errorf("picture %d: error %v, want %q", i, err, want)
		}
	}
	src := Source{Name: "folder", Root: root, SkipCorrupt: true}
	for range 2 { // the second time from memory
		set, eval, err := Open(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		if set.Len() != 9 || eval.Len() != 6 || len(set.Skipped) != 3 || len(eval.Skipped) != 0 || set.Whole != 0 {
			t.Fatalf("%d and %d pictures, skipped %v, %v", set.Len(), eval.Len(), set.Skipped, eval.Skipped)
		}
		if want := []int32{0, 0, 0, 1, 1, 1, 2, 2, 2}; !slices.Equal(set.Labels, want) || !strings.Contains(set.Skipped[0].Error(), "b.jpg") {
			t.Errorf("labels %v, skipped first %v", set.Labels, set.Skipped[0])
		}
		for i, bright := range []uint8{0, 20, 30, 50, 60, 70, 80, 90, 110} {
			if err := set.Store.Load(i, &p); err != nil || max(p.Pix[0], bright)-min(p.Pix[0], bright) > 1 {
				t.Errorf("picture %d is %d bright, want %d; %v", i, p.Pix[0], bright, err)
			}
		}
	}
	if known := readFingerprints(indexPath(train, decodedKind())); len(known) != 9 {
		t.Errorf("%d pictures are remembered as good, want 9", len(known))
	}
	// A picture that is damaged after it was recorded as good is found.
	overwrite(t, filepath.Join(train, "dog", "b.jpg"), whole[:50])
	if set, _, err := Open(t.Context(), src); err != nil || len(set.Skipped) != 4 {
		t.Errorf("one more bad picture: %v, %v", set.Skipped, err)
	}
	for _, name := range []string{"IMG_9.JPEG", "more/0.jpeg", "more/deep/x.PNG"} {
		overwrite(t, filepath.Join(train, "dog", filepath.FromSlash(name)), nil)
	}
	if _, _, err := Open(t.Context(), src); err == nil || !strings.Contains(err.Error(), "dog: no picture of the class can be decoded: 4 damaged; the first: "+filepath.Join(train, "dog")) {
		t.Errorf("a class with no good picture: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, skip := range []bool{false, true} {
		if _, _, err := Open(ctx, Source{Name: "folder", Root: root, SkipCorrupt: skip}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// A valid picture of a form that this build cannot read is not called damaged: it is
// counted separately when pictures are verified, left out or packed.
func TestPicturesOfOtherForms(t *testing.T) {
	var golden struct {
		Files map[string]struct {
			File []byte
			Form string
		}
	}
	goldenfile.Read(t, "picture/testdata/forms.json.gz", &golden)
	file, form := golden.Files["12 bits"].File, golden.Files["12 bits"].Form // which no build reads
	root := pictureFolder(t)
	train := filepath.Join(root, "train")
	other, damaged := filepath.Join(train, "cat", "b.jpg"), filepath.Join(train, "dog", "IMG_9.JPEG")
	overwrite(t, other, file)
	overwrite(t, damaged, file[:len(file)/2])
	age(t, root)

	said := "valid, but this build cannot read it (" + form + ")"
	src := Source{Name: "folder", Root: root}
	err := Verify(t.Context(), src)
	if err == nil || !strings.Contains(err.Error(), "1 damaged and 1 that are valid, but of a form that this build cannot read:\n"+damaged) ||
		!strings.Contains(err.Error(), other+": "+said) || strings.Contains(err.Error(), damaged+": valid") {
		t.Errorf("verify: %v", err)
	}
	if err := Pack(t.Context(), src, t.TempDir(), PackOptions{}); err == nil || !(strings.Contains(err.Error(), other+": "+said) || strings.Contains(err.Error(), damaged)) {
		t.Errorf("packing: %v", err)
	}
	src.SkipCorrupt = true
	set, _, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Skipped) != 2 || Undecodable(set.Skipped) != "1 damaged and 1 that are valid, but of a form that this build cannot read" || !strings.Contains(set.Skipped[0].Error(), other+": "+said) {
		t.Errorf("skipped %v: %s", set.Skipped, Undecodable(set.Skipped))
	}
	var skipped []error
	if err := Pack(t.Context(), src, t.TempDir(), PackOptions{Skipped: func(err error) { skipped = append(skipped, err) }}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(skipped) != fmt.Sprint(set.Skipped) {
		t.Errorf("packed without %v", skipped)
	}
	if one := Undecodable(set.Skipped[:1]); one != "1 that are valid, but of a form that this build cannot read" {
		t.Error(one)
	}
	if one := Undecodable(set.Skipped[1:]); one != "1 damaged" {
		t.Error(one)
	}

	// Pictures that another decoder could read are decoded again by this one.
	before := picture.Decoder
	defer func() { picture.Decoder = before }()
	was := decodedKind()
	picture.Decoder = "another"
	if decodedKind() == was {
		t.Error("two decoders share a list of good pictures")
	}
}

func TestImageNet(t *testing.T) {
	info, err := Describe("imagenet-1k")
	if err != nil || len(info.Classes) != 1000 || info.Train != 1281167 || info.Eval != 50000 || !slices.IsSorted(info.Classes) {
		t.Errorf("%d classes, %d and %d pictures, %v", len(info.Classes), info.Train, info.Eval, err)
	}
	if info.Classes[0] != "n01440764" || info.Classes[999] != "n15075141" {
		t.Errorf("from %s to %s", info.Classes[0], info.Classes[999])
	}
	// The same format with three classes and few pictures.
	tiny := imageNet
	tiny.info.Classes, tiny.info.Train, tiny.info.Eval = []string{"cat", "cat-fish", "dog"}, 12, 6
	root := pictureFolder(t)
	if _, err := tiny.inspect(t.Context(), Source{Root: root}); err != nil {
		t.Error(err)
	}
	more := tiny
	more.info.Eval = 7
	if _, err := more.inspect(t.Context(), Source{Root: root}); err == nil || !strings.Contains(err.Error(), "val has 6 pictures, want 7 of imagenet-1k") {
		t.Errorf("error %v", err)
	}
	more.info.Classes = []string{"cat", "cow", "dog"}
	if _, err := more.inspect(t.Context(), Source{Root: root}); err == nil || !strings.Contains(err.Error(), `no folder for class "cow", which imagenet-1k has`) {
		t.Errorf("error %v", err)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	if err := Check(t.Context(), Source{Name: "imagenet-1k"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "https://image-net.org") {
		t.Errorf("error %v", err)
	}
}

func FuzzIndex(f *testing.F) {
	l := &listing{root: "/data", classes: []string{"a", "b"}, dirs: []listedDir{
		{path: "", mtime: 5}, {path: "a", mtime: 6, names: []string{"x.jpg", "y\n.jpg"}}, {path: "a/c", mtime: -1}, {path: "b", names: []string{"z.png"}},
	}}
	f.Add(string(l.encode()))
	f.Add("")
	f.Add(indexMagic + "00000000\n")
	f.Fuzz(func(t *testing.T, data string) {
		l := decodeIndex(data)
		if l == nil {
			return
		}
		again := decodeIndex(string(l.encode()))
		if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", l) {
			t.Errorf("%+v became %+v", l, again)
		}
	})
}
