package datasets

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"hatchery/datasets/picture"
)

// photograph is the Spec of sets of photographs of any size: ImageNet's mean and
// deviation (timm's IMAGENET_DEFAULT_MEAN and _STD), with which DeiT normalises every
// data set.
var photograph = Spec{
	Channels: 3,
	Mean:     []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225},
}

// Folder is the name of the data set that consists of the pictures in its root.
const Folder = "folder"

var imageFolder = dataset{
	info: Info{
		Spec:  photograph.named(Folder),
		About: "any folder of pictures: train/CLASS/*.jpg and val/CLASS/*.jpg",
	},
	format: folderFormat{},
	hint:   "set the data set's root to a folder that has the folders train and val, with a folder of JPEG or PNG files for each class in both",
}

// ImageNet-1K: Russakovsky et al., ImageNet Large Scale Visual Recognition
// Challenge, IJCV 2015. Its classes are WordNet synsets in the order of their
// numbers, as in every published model.
var imageNet = dataset{
	info: Info{
		Spec:  imageNetSpec(),
		About: "ImageNet-1K (ILSVRC 2012): photographs of 1000 classes, train/n01440764/*.JPEG and val/n01440764/*.JPEG",
		Train: 1281167, Eval: 50000,
	},
	format: folderFormat{exact: true},
	hint:   "its licence does not let a program fetch it: register at https://image-net.org, download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, unpack them into train/n01440764/*.JPEG and val/n01440764/*.JPEG, and set the data set's root to the folder with train and val",
}

//go:embed imagenet/wnids.txt
var wnids string

func imageNetSpec() Spec {
	s := photograph.named("imagenet-1k")
	s.Classes = strings.Fields(wnids)
	return s
}

// splitNames are the names of the folders of the two splits; the first that exists is used.
var splitNames = [2][]string{{"train"}, {"val", "validation", "test"}}

// folderFormat is the format of pictures in folders, one for each class. Pictures are
// loaded from their files when they are needed.
type folderFormat struct {
	exact bool // classes and counts must be those of the set's Info
}

func (f folderFormat) outline(ctx context.Context, d *dataset, src Source) ([2]*Set, error) {
	return f.read(ctx, d, src)
}

func (f folderFormat) read(ctx context.Context, d *dataset, src Source) (splits [2]*Set, err error) {
	if src.Root == "" && !f.exact {
		return splits, missingError("no root is set; " + d.hint)
	}
	_, dirs, err := find(d, src.Root, findSplits)
	if err != nil {
		return splits, err
	}
	var lists [2]*listing
	for i, dir := range dirs {
		if lists[i], err = list(ctx, dir); err != nil {
			return splits, err
		}
	}
	if err := f.checkClasses(d, lists); err != nil {
		return splits, err
	}
	for i, l := range lists {
		want := [2]int{d.info.Train, d.info.Eval}[i]
		if n := l.count(); f.exact && n != want {
			return splits, fmt.Errorf("%s has %d pictures, want %d of %s: the copy is incomplete, or not the original; to use it anyway, use the data set folder", l.root, n, want, d.info.Name)
		}
		if splits[i], err = l.set(ctx, d, src.SkipCorrupt); err != nil {
			return splits, err
		}
	}
	return splits, nil
}

// findSplits returns the folders of training and evaluation.
func findSplits(dir string) (found [2]string, missing []string, err error) {
	for i, names := range splitNames {
		for _, name := range names {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
				found[i] = filepath.Join(dir, name)
				break
			}
		}
		if found[i] == "" {
			missing = append(missing, "a folder "+names[0])
		}
	}
	return found, missing, nil
}

// checkClasses checks that both splits have the same classes, that these are the set's if
// it has any, and that none is empty.
func (f folderFormat) checkClasses(d *dataset, lists [2]*listing) error {
	want, of := lists[0].classes, lists[0].root
	if f.exact {
		want, of = d.info.Classes, d.info.Name
	}
	for _, l := range lists {
		if len(l.classes) == 0 {
			return fmt.Errorf("%s has no folders of classes: each class is a folder with its pictures", l.root)
		}
		for _, c := range want {
			if _, ok := slices.BinarySearch(l.classes, c); !ok {
				return fmt.Errorf("%s has no folder for class %q, which %s has", l.root, c, of)
			}
		}
		for _, c := range l.classes {
			if _, ok := slices.BinarySearch(want, c); !ok {
				return fmt.Errorf("%s: %s has no such class", filepath.Join(l.root, c), of)
			}
		}
		counts := make([]int, len(l.classes))
		for i := range l.dirs {
			if c := l.class(&l.dirs[i]); c >= 0 {
				counts[c] += len(l.dirs[i].names)
			}
		}
		if c := slices.Index(counts, 0); c >= 0 {
			return fmt.Errorf("%s: no pictures (files that end in %s)", filepath.Join(l.root, l.classes[c]), strings.Join(supported, ", "))
		}
	}
	return nil
}

// set returns the set of the pictures of a listing.
func (l *listing) set(ctx context.Context, d *dataset, skipCorrupt bool) (*Set, error) {
	s := &Set{Spec: d.info.Spec, Labels: make([]int32, 0, l.count())}
	s.Classes = l.classes
	store := &folderStore{listing: l}
	for i := range l.dirs {
		store.starts = append(store.starts, len(s.Labels))
		c := l.class(&l.dirs[i])
		for range l.dirs[i].names {
			s.Labels = append(s.Labels, int32(c))
		}
	}
	s.Store = store
	if !skipCorrupt {
		return s, nil
	}
	bad, err := store.findCorrupt(ctx)
	if err != nil || len(bad) == 0 {
		return s, err
	}
	good := make([]int, 0, len(s.Labels))
	for i := range s.Labels {
		if bad[i] == nil {
			good = append(good, i)
		}
	}
	rest := s.take(good)
	rest.Whole = 0 // it counts as the whole set
	skipped := make([][]error, len(l.classes))
	for i, c := range s.Labels {
		if bad[i] != nil {
			rest.Skipped = append(rest.Skipped, bad[i])
			skipped[c] = append(skipped[c], bad[i])
		}
	}
	for c, n := range perClass(&rest.Spec, rest.Labels) {
		if n == 0 {
			return nil, fmt.Errorf("%s: no picture of the class can be decoded: %s; the first: %w", filepath.Join(l.root, l.classes[c]), Undecodable(skipped[c]), skipped[c][0])
		}
	}
	return rest, nil
}

// folderStore loads pictures from their files.
type folderStore struct {
	*listing
	starts  []int // index of the first picture of each folder
	buffers sync.Pool

	digestMu    sync.Mutex
	digestValue string // guarded by digestMu; "" until it is computed
}

// path returns the path of picture i.
func (s *folderStore) path(i int) string {
	d := sort.SearchInts(s.starts, i+1) - 1
	dir := &s.dirs[d]
	return filepath.Join(s.root, filepath.FromSlash(dir.path), dir.names[i-s.starts[d]])
}

// Load implements Store.
func (s *folderStore) Load(i int, p *picture.Picture) error {
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	defer s.buffers.Put(buffer)
	var err error
	if *buffer, _, _, err = s.file(i, (*buffer)[:0]); err != nil {
		return err
	}
	if err := picture.Decode(*buffer, p); err != nil {
		return fmt.Errorf("%s: %w", s.path(i), err)
	}
	return nil
}

// file implements fileStore.
func (s *folderStore) file(i int, b []byte) ([]byte, int, int, error) {
	file, err := os.Open(s.path(i))
	if err != nil {
		return b, 0, 0, err
	}
	defer file.Close()
	b, err = readAll(file, b)
	return b, 0, 0, err
}

// maxFile is the size of the largest file that is read as a picture.
const maxFile = 1 << 28

// readAll appends a file to b. Its error names the file.
func readAll(file *os.File, b []byte) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return b, err
	}
	if info.Size() > maxFile {
		return b, fmt.Errorf("%s: the picture has %d bytes, want at most %d", file.Name(), info.Size(), maxFile)
	}
	have, size := len(b), int(info.Size())
	b = slices.Grow(b, size)[:have+size]
	if _, err = io.ReadFull(file, b[have:]); err != nil {
		return b[:have], fmt.Errorf("%s: %w", file.Name(), err)
	}
	return b, nil
}
