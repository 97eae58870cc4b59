package datasets

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CIFAR-10 and CIFAR-100: Krizhevsky, Learning Multiple Layers of Features from
// Tiny Images, 2009; the "binary version" of https://www.cs.toronto.edu/~kriz/cifar.html.
//
// Mean and deviation are those of the sets' own 50,000 training images. DeiT's code,
// and so the paper's, would normalise CIFAR with the constants of ImageNet (.485 .456
// .406 and .229 .224 .225), but its CIFAR option cannot run and the paper does not
// state its constants. Our choice follows the meaning of the constants and common
// practice.
var cifar10 = dataset{
	info: Info{
		Spec: Spec{
			Name:     "cifar-10",
			Classes:  strings.Fields("airplane automobile bird cat deer dog frog horse ship truck"),
			Channels: 3, Height: 32, Width: 32,
			Mean: []float32{0.49139968, 0.48215841, 0.44653091},
			Std:  []float32{0.24703223, 0.24348513, 0.26158784},
		},
		About: "CIFAR-10: 32x32 colour photographs of 10 classes",
		Train: 50000, Eval: 10000,
	},
	format: cifarFormat{
		archive: "cifar-10-binary.tar.gz",
		folder:  "cifar-10-batches-bin",
		splits: [2][]string{
			{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
			{"test_batch.bin"},
		},
		names: "batches.meta.txt", labels: 1,
	},
	hint: cifarHint("cifar-10"),
}

// The 100 fine labels; the 20 coarse ones are not used.
var cifar100 = dataset{
	info: Info{
		Spec: Spec{
			Name: "cifar-100",
			Classes: strings.Fields(`
				apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
				bowl boy bridge bus butterfly camel can castle caterpillar cattle
				chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
				dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
				lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
				mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
				plain plate poppy porcupine possum rabbit raccoon ray road rocket
				rose sea seal shark shrew skunk skyscraper snail snake spider
				squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
				train trout tulip turtle wardrobe whale willow_tree wolf woman worm`),
			Channels: 3, Height: 32, Width: 32,
			Mean: []float32{0.50707516, 0.48654887, 0.44091784},
			Std:  []float32{0.26733429, 0.25643846, 0.27615047},
		},
		About: "CIFAR-100: 32x32 colour photographs of 100 classes",
		Train: 50000, Eval: 10000,
	},
	format: cifarFormat{
		archive: "cifar-100-binary.tar.gz",
		folder:  "cifar-100-binary",
		splits:  [2][]string{{"train.bin"}, {"test.bin"}},
		names:   "fine_label_names.txt", labels: 2,
	},
	hint: cifarHint("cifar-100"),
}

func cifarHint(name string) string {
	return fmt.Sprintf("fetch it with `hatchery data fetch %s`, or set the data set's root to a folder with the archive or its files", name)
}

// cifarFormat is the format of CIFAR's binary version: records of one or two labels and
// 3x32x32 pixels, in files that are unpacked or in their archive.
type cifarFormat struct {
	archive string      // name of the tar.gz
	folder  string      // in the archive
	splits  [2][]string // files of training and evaluation
	names   string      // file with the names of the classes, one per line
	labels  int         // bytes of labels in a record, of which the last is used
}

func (f cifarFormat) outline(ctx context.Context, d *dataset, src Source) ([2]*Set, error) {
	return f.load(ctx, d, src, false)
}

func (f cifarFormat) read(ctx context.Context, d *dataset, src Source) ([2]*Set, error) {
	return f.load(ctx, d, src, true)
}

func (f cifarFormat) load(ctx context.Context, d *dataset, src Source, pixels bool) (splits [2]*Set, err error) {
	_, location, err := find(d, src.Root, f.locate)
	if err != nil {
		return splits, err
	}
	for i, n := range []int{d.info.Train, d.info.Eval} {
		splits[i] = &Set{Spec: d.info.Spec, Labels: make([]int32, n)}
		if pixels {
			splits[i].Images = make([]uint8, n*d.info.pixels())
		}
	}
	c := cifarReader{f, splits}
	if location.archive {
		err = c.readArchive(ctx, location.path)
	} else {
		err = c.readFolder(ctx, location.path)
	}
	return splits, err
}

// cifarLocation is the folder or the archive with the files.
type cifarLocation struct {
	path    string
	archive bool
}

// locate finds the unpacked files in dir, or in the folder in dir that the archive unpacks
// to, or else the archive in dir. dir may also be the archive itself.
func (f cifarFormat) locate(dir string) (location cifarLocation, missing []string, err error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() && strings.HasSuffix(dir, ".gz") {
		return cifarLocation{dir, true}, nil, nil
	}
	files := append(slices.Concat(f.splits[:]...), f.names)
	for _, in := range []string{dir, filepath.Join(dir, f.folder)} {
		missing = nil
		for _, name := range files {
			if _, err := os.Stat(filepath.Join(in, name)); errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return cifarLocation{path: in}, nil, nil
		}
		if len(missing) < len(files) { // report an incomplete copy rather than search on
			return location, missing, nil
		}
	}
	path := filepath.Join(dir, f.archive)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return location, []string{f.archive, "and " + f.folder}, nil
	}
	return cifarLocation{path, true}, nil, nil
}

// cifarReader fills the two sets.
type cifarReader struct {
	cifarFormat
	splits [2]*Set
}

func (c *cifarReader) readFolder(ctx context.Context, dir string) error {
	for _, name := range append(slices.Concat(c.cifarFormat.splits[:]...), c.names) {
		path := filepath.Join(dir, name)
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		err = c.readFile(cancellable{ctx, file}, path, name)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// readArchive reads the files in the order of the archive, without unpacking it to disk.
func (c *cifarReader) readArchive(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	z, err := gzip.NewReader(bufio.NewReaderSize(cancellable{ctx, file}, 1<<16))
	if err != nil {
		return fmt.Errorf("%s: gzip header: %w", path, orTruncated(err))
	}
	missing := append(slices.Concat(c.cifarFormat.splits[:]...), c.names)
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("%s: %w", path, orTruncated(err))
		}
		name := strings.TrimPrefix(strings.TrimPrefix(h.Name, "./"), c.folder+"/")
		i := slices.Index(missing, name)
		if i < 0 || h.Typeflag != tar.TypeReg {
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		if err := c.readFile(t, path+": "+h.Name, name); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: the archive lacks %s", path, strings.Join(missing, ", "))
	}
	// The checksum of the archive follows the last file.
	if _, err := io.Copy(io.Discard, z); err != nil {
		return fmt.Errorf("%s: %w", path, orTruncated(err))
	}
	return nil
}

func (c *cifarReader) readFile(r io.Reader, path, name string) error {
	if name == c.names {
		return c.checkNames(r, path)
	}
	for split, files := range c.cifarFormat.splits {
		if i := slices.Index(files, name); i >= 0 {
			set := c.splits[split]
			n := len(set.Labels) / len(files)
			return c.readRecords(r, path, set, i*n, n)
		}
	}
	return nil
}

// readRecords reads a file of n records into a set, beginning at image from.
func (c *cifarReader) readRecords(r io.Reader, path string, set *Set, from, n int) error {
	size := c.labels + set.pixels()
	record := make([]byte, size)
	b := bufio.NewReaderSize(r, 1<<16)
	for i := range n {
		if got, err := io.ReadFull(b, record); err != nil {
			if errors.Is(orTruncated(err), errTruncated) {
				return fmt.Errorf("%s: byte %d: the file is truncated, it should have %d bytes, %d records of %d: %w", path, i*size+got, n*size, n, size, io.ErrUnexpectedEOF)
			}
			return fmt.Errorf("%s: byte %d: %w", path, i*size+got, err)
		}
		label := record[c.labels-1]
		if int(label) >= len(set.Classes) {
			return fmt.Errorf("%s: byte %d: label %d, want 0 to %d: the file is damaged, or of another data set", path, i*size+c.labels-1, label, len(set.Classes)-1)
		}
		set.Labels[from+i] = int32(label)
		if set.Images != nil {
			copy(set.Images[(from+i)*set.pixels():], record[c.labels:])
		}
	}
	if _, err := b.ReadByte(); err == nil {
		return fmt.Errorf("%s: byte %d: data after the last of %d records", path, n*size, n)
	} else if err != io.EOF {
		return fmt.Errorf("%s: byte %d: %w", path, n*size, err)
	}
	return nil
}

// checkNames compares the names of the classes in the file with the built-in ones, so
// that the labels are sure to have the expected meaning.
func (c *cifarReader) checkNames(r io.Reader, path string) error {
	text, err := io.ReadAll(io.LimitReader(r, 1<<16))
	if err != nil {
		return fmt.Errorf("%s: %w", path, orTruncated(err))
	}
	got, want := strings.Fields(string(text)), c.splits[0].Classes
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: the classes are %s, want %s: the file is damaged, or of another data set", path, abridged(got), abridged(want))
	}
	return nil
}

// abridged returns the number of words, and the words or the first of many, for a message.
func abridged(words []string) string {
	if len(words) > 12 {
		return fmt.Sprintf("%d (%s, ...)", len(words), strings.Join(words[:12], ", "))
	}
	return fmt.Sprintf("%d (%s)", len(words), strings.Join(words, ", "))
}

// errTruncated replaces the two errors of a file that ends too early.
var errTruncated = fmt.Errorf("the file is truncated: %w", io.ErrUnexpectedEOF)

func orTruncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}
