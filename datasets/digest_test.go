package datasets

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func digest(t *testing.T, s *Set) string {
	t.Helper()
	d, err := s.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openBoth opens a source and returns its training and evaluation digests.
func openBoth(t *testing.T, src Source) [2]string {
	t.Helper()
	train, eval, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	return [2]string{digest(t, train), digest(t, eval)}
}

// A change of the pictures of a folder, or of their order, changes the digest of that
// split. Nothing else does.
func TestDigestOfFolder(t *testing.T) {
	first := pictureFolder(t)
	was := openBoth(t, Source{Name: Folder, Root: first})
	if again := openBoth(t, Source{Name: Folder, Root: pictureFolder(t)}); again != was {
		t.Error("a copy in another folder has another digest")
	}
	train := func(root string) string { return filepath.Join(root, "train") }
	for what, change := range map[string]func(root string) error{
		"a picture deleted": func(root string) error { return os.Remove(picturePath(t, train(root), "dog", 1)) },
		"a picture added": func(root string) error {
			return os.WriteFile(filepath.Join(train(root), "dog", "zz.jpg"), jpegFile(t, 1, 8, 8), 0o644)
		},
		"a picture renamed": func(root string) error {
			path := picturePath(t, train(root), "dog", 1)
			return os.Rename(path, strings.TrimSuffix(path, filepath.Ext(path))+"x"+filepath.Ext(path))
		},
		// In place, so that neither the folder's time nor its names change.
		"a picture replaced": func(root string) error {
			return os.WriteFile(picturePath(t, train(root), "dog", 1), jpegFile(t, 1, 40, 40), 0o644)
		},
	} {
		root := pictureFolder(t)
		openBoth(t, Source{Name: Folder, Root: root}) // with an index of it as it was
		if err := change(root); err != nil {
			t.Fatal(err)
		}
		now := openBoth(t, Source{Name: Folder, Root: root})
		if now[0] == was[0] {
			t.Errorf("%s: the digest is the same", what)
		}
		if now[1] != was[1] {
			t.Errorf("%s: the digest of the other split has changed", what)
		}
	}
}

// picturePath returns the path of picture i of a class.
func picturePath(t *testing.T, split, class string, i int) string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(split, class))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(split, class, files[i].Name())
}

// A part of a set has the same digest, however it was made.
func TestDigestOfParts(t *testing.T) {
	src := Source{Name: Folder, Root: pictureFolder(t)}
	train, _, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{digest(t, train): "all"}
	for i := range 2 {
		part, err := train.Partition(2, i, 0)
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[digest(t, part)]; other != "" {
			t.Errorf("part %d has the digest of %s", i, other)
		}
		seen[digest(t, part)] = fmt.Sprint("part ", i)
	}
	dir := t.TempDir()
	if err := WriteParts(t.Context(), src, dir, 2, 0, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		own, _, err := Open(t.Context(), Source{Name: Folder, Root: filepath.Join(dir, fmt.Sprintf("part-%d", i+1))})
		if err != nil {
			t.Fatal(err)
		}
		part, err := own.Partition(2, i, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := seen[digest(t, part)]; got != fmt.Sprint("part ", i) {
			t.Errorf("the copy of part %d has the digest of %q", i, got)
		}
	}
	for _, some := range []Source{{Name: Folder, Root: src.Root, Train: 6}, {Name: Folder, Root: src.Root, Fraction: 0.5}} {
		if got := openBoth(t, some); seen[got[0]] != "" || got != openBoth(t, some) {
			t.Errorf("%+v has the digest of %s", some, seen[got[0]])
		}
	}
}

// A pack of the files has the digest of the folder; a pack of smaller pictures has another
// one, and so has a pack of an older version.
func TestDigestOfPack(t *testing.T) {
	folder := Source{Name: Folder, Root: pictureFolder(t)}
	want := openBoth(t, folder)
	pack := func(o PackOptions) Source {
		dir := t.TempDir()
		if err := Pack(t.Context(), folder, dir, o); err != nil {
			t.Fatal(err)
		}
		return Source{Name: Folder, Root: dir}
	}
	whole := pack(PackOptions{})
	if got := openBoth(t, whole); got != want {
		t.Errorf("the pack has the digests %v, the folder %v", got, want)
	}
	whole.Train, folder.Train = 6, 6
	if got, want := openBoth(t, whole), openBoth(t, folder); got != want {
		t.Errorf("six pictures of the pack have the digests %v, of the folder %v", got, want)
	}
	if got := openBoth(t, pack(PackOptions{Shorter: 4})); got[0] == want[0] {
		t.Error("pictures that were made smaller have the digest of the originals")
	}
	p, err := openPack(filepath.Join(whole.Root, packNames[0]))
	if err != nil {
		t.Fatal(err)
	}
	p.info.Digest = ""
	old, err := p.digest(t.Context())
	if err != nil || old == "" || old == want[0] {
		t.Errorf("a pack without a digest: %q, %v", old, err)
	}
}

// The digest of images in memory depends on every pixel and every label. A pack of them has
// the same digest.
func TestDigestOfImages(t *testing.T) {
	src := Source{Name: "fashion-mnist-5k", Train: 100, Eval: 50}
	train, _, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	was := digest(t, train)
	train.Images[12345] ^= 1 // a part is a copy
	if digest(t, train) == was {
		t.Error("the digest does not depend on a pixel")
	}
	train.Images[12345] ^= 1
	train.Labels[7]++
	if digest(t, train) == was {
		t.Error("the digest does not depend on a label")
	}
	dir := t.TempDir()
	if err := Pack(t.Context(), Source{Name: "fashion-mnist-5k"}, dir, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	want := openBoth(t, src)
	src.Root = dir
	if got := openBoth(t, src); got != want {
		t.Errorf("packed %v, want %v", got, want)
	}
}

// An outline has the labels of Open's sets, and the store of pictures that are not in
// memory. It has no digest of images that it has not read.
func TestOutline(t *testing.T) {
	for _, src := range []Source{{Name: "fashion-mnist-5k", Train: 100, Eval: 50}, {Name: Folder, Root: pictureFolder(t), Fraction: 0.5}} {
		train, eval, err := Open(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		outline, outlined, err := Outline(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		if outline.Len() != train.Len() || outlined.Len() != eval.Len() || outline.Whole != train.Whole {
			t.Errorf("%s: %d and %d images, want %d and %d", src.Name, outline.Len(), outlined.Len(), train.Len(), eval.Len())
		}
		if got, want := digest(t, outline), digest(t, train); got != want && !(got == "" && train.Store == nil) {
			t.Errorf("%s: digest %q, want %q", src.Name, got, want)
		}
	}
}

// With more pictures than maxSizes, the digest depends on every name, and on sizes at equal
// distances.
func TestDigestOfMany(t *testing.T) {
	root := t.TempDir()
	const each = maxSizes/2 + 100
	for _, class := range []string{"cat", "dog"} {
		if err := os.Mkdir(filepath.Join(root, class), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range each {
			if err := os.WriteFile(filepath.Join(root, class, fmt.Sprintf("%05d.jpg", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := func() string {
		l, err := scan(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.set(t.Context(), &imageFolder, false)
		if err != nil {
			t.Fatal(err)
		}
		return digest(t, s)
	}
	was := now()
	path := filepath.Join(root, "dog", fmt.Sprintf("%05d.jpg", each-2)) // every other one
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	larger := now()
	if larger == was {
		t.Error("the digest does not depend on a size")
	}
	if err := os.Rename(path, path+".jpg"); err != nil {
		t.Fatal(err)
	}
	if now() == larger {
		t.Error("the digest does not depend on a name")
	}
}
