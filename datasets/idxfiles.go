package datasets

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"

	"hatchery/datasets/idx"
)

// idxFormat is the format of two IDX files for each split.
type idxFormat [2]idxFiles

func (f idxFormat) outline(ctx context.Context, d *dataset, src Source) (splits [2]*Set, err error) {
	in, err := f.find(d, src.Root)
	if err != nil {
		return splits, err
	}
	for i, s := range f {
		labels, err := s.check(ctx, in, &d.info.Spec)
		if err != nil {
			return splits, err
		}
		splits[i] = &Set{Spec: d.info.Spec, Labels: labels}
	}
	return splits, nil
}

func (f idxFormat) read(ctx context.Context, d *dataset, src Source) ([2]*Set, error) {
	in, err := f.find(d, src.Root)
	if err != nil {
		return [2]*Set{}, err
	}
	return f.readFrom(ctx, in, &d.info.Spec)
}

func (f idxFormat) readFrom(ctx context.Context, in folder, spec *Spec) (splits [2]*Set, err error) {
	for i, s := range f {
		if splits[i], err = s.read(ctx, in, spec); err != nil {
			return splits, err
		}
	}
	return splits, nil
}

func (f idxFormat) find(d *dataset, root string) (folder, error) {
	var names []string
	for _, s := range f {
		names = append(names, s.images, s.labels)
	}
	dir, paths, err := findFiles(d, root, names)
	return folder{name: dir, open: func(name string) (fs.File, error) { return os.Open(paths[name]) }}, err
}

// folder is the folder of a data set's files.
type folder struct {
	name string // for messages
	open func(name string) (fs.File, error)
}

// idxFiles describes the two IDX files of a split.
type idxFiles struct {
	images, labels string // names of the files, without ".gz"
	count          int    // of images, and of labels
}

// read reads and checks both files.
func (s idxFiles) read(ctx context.Context, in folder, spec *Spec) (*Set, error) {
	labels, err := s.readLabels(ctx, in, spec)
	if err != nil {
		return nil, err
	}
	f, err := s.openImages(ctx, in, spec)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pixels, err := f.data()
	if err != nil {
		return nil, err
	}
	return &Set{Spec: *spec, Images: pixels, Labels: labels}, nil
}

// check is like read, but checks only the header and the size of the images.
func (s idxFiles) check(ctx context.Context, in folder, spec *Spec) ([]int32, error) {
	labels, err := s.readLabels(ctx, in, spec)
	if err != nil {
		return nil, err
	}
	f, err := s.openImages(ctx, in, spec)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	want, err := idx.FileSize(f.shape)
	if err != nil {
		return nil, err
	}
	if f.size() != want {
		// The file is damaged, or a kind of gzip file whose size is not known
		// before reading it. Reading shows which, and where.
		if _, err := f.data(); err != nil {
			return nil, err
		}
	}
	return labels, nil
}

func (s idxFiles) openImages(ctx context.Context, in folder, spec *Spec) (*idxFile, error) {
	f, err := openIDX(ctx, in, s.images, 3)
	if err != nil {
		return nil, err
	}
	switch {
	case f.shape[0] != s.count:
		err = fmt.Errorf("%s: byte 4: the file has %d images, want %d of %s", f.path, f.shape[0], s.count, spec.Name)
	case f.shape[1] != spec.Height || f.shape[2] != spec.Width:
		err = fmt.Errorf("%s: byte 8: the images are %dx%d, want %dx%d of %s", f.path, f.shape[1], f.shape[2], spec.Height, spec.Width, spec.Name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s idxFiles) readLabels(ctx context.Context, in folder, spec *Spec) ([]int32, error) {
	f, err := openIDX(ctx, in, s.labels, 1)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.shape[0] != s.count {
		return nil, fmt.Errorf("%s: byte 4: the file has %d labels, want %d of %s, one for each image of %s", f.path, f.shape[0], s.count, spec.Name, s.images)
	}
	data, err := f.data()
	if err != nil {
		return nil, err
	}
	labels := make([]int32, len(data))
	for i, c := range data {
		if int(c) >= len(spec.Classes) {
			return nil, fmt.Errorf("%s: byte %d: label %d, want 0 to %d", f.path, 8+i, c, len(spec.Classes)-1)
		}
		labels[i] = int32(c)
	}
	return labels, nil
}

// idxFile is an open IDX file, compressed or not, whose header has been read.
type idxFile struct {
	fs.File
	path  string // for messages
	gzip  bool
	r     io.Reader // positioned after the header
	shape []int
}

func openIDX(ctx context.Context, in folder, name string, dims int) (_ *idxFile, err error) {
	file, err := in.open(name)
	if err != nil {
		return nil, err
	}
	f := &idxFile{File: file, path: in.name + "/" + name}
	if osFile, ok := file.(interface{ Name() string }); ok {
		f.path = osFile.Name()
	}
	defer func() {
		if err != nil {
			file.Close()
			err = fmt.Errorf("%s: %w", f.path, err)
		}
	}()
	// The content decides, not the name: browsers and servers may unpack .gz files
	// without changing the name.
	buffered := bufio.NewReaderSize(cancellable{ctx, file}, 1<<16)
	f.r = buffered
	if start, _ := buffered.Peek(2); string(start) == "\x1f\x8b" {
		f.gzip = true
		if f.r, err = gzip.NewReader(buffered); err != nil {
			return nil, fmt.Errorf("gzip header: %w", err)
		}
		f.path += " (unpacked)" // positions in messages refer to the unpacked file
	}
	f.shape, err = idx.ReadHeader(f.r, dims)
	return f, err
}

// data reads the elements, which follow the header.
func (f *idxFile) data() ([]byte, error) {
	data, err := idx.ReadData(f.r, f.shape)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return data, nil
}

// size returns the uncompressed size of the file, or -1 if it is unknown. For gzip it is
// in the last four bytes, which is right for a file of one member below 4 GiB.
func (f *idxFile) size() int64 {
	info, err := f.Stat()
	if err != nil {
		return -1
	}
	if !f.gzip {
		return info.Size()
	}
	at, ok := f.File.(io.ReaderAt)
	if !ok {
		return -1
	}
	var tail [4]byte
	if _, err := at.ReadAt(tail[:], info.Size()-4); err != nil {
		return -1
	}
	return int64(binary.LittleEndian.Uint32(tail[:]))
}

// cancellable fails once its context is done.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
