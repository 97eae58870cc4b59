package datasets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"hatchery/datasets/picture"
	"hatchery/engine/atomicfile"
)

// PackOptions specify how a pack stores pictures. The zero value keeps their files byte
// for byte. Images in memory, such as CIFAR's, are always stored unchanged.
type PackOptions struct {
	// Shorter is the length to which the shorter side is resized, as in evaluation
	// (PIL's bicubic). Smaller pictures are not enlarged. 0 means no resizing.
	Shorter int

	// Quality is the JPEG quality of resized pictures, 1 to 100. 0 means raw pixels,
	// three bytes each, which need no decoding.
	Quality int

	// Progress, if not nil, is called with the number of images of a file that are
	// done.
	Progress func(file string, done, total int)

	// Skipped, if not nil, is called for each picture that is left out
	// (Source.SkipCorrupt), before anything is written.
	Skipped func(error)
}

// Effect describes the effect of packing on the pixels that a network sees.
func (o PackOptions) Effect() string {
	if o.Shorter == 0 {
		return "files are kept byte for byte: no pixel changes"
	}
	s := fmt.Sprintf("shorter sides are resized to %d (bicubic): evaluation at up to %d pixels sees the same pixels as without packing, random crops come from %d pixels rather than the original and small ones are less sharp",
		o.Shorter, int(float64(o.Shorter)/evalRatio), o.Shorter)
	if o.Quality > 0 {
		s += fmt.Sprintf("; all of them with the losses of a second JPEG of quality %d (4:2:0), except pictures that were not larger", o.Quality)
	}
	return s
}

// Check checks the values.
func (o PackOptions) Check() error {
	if o.Shorter < 0 || o.Shorter > math.MaxUint16 || o.Quality < 0 || o.Quality > 100 {
		return fmt.Errorf("pack with a shorter side of %d and a quality of %d: want 0 (not resized) to %d, and 0 (raw) to 100", o.Shorter, o.Quality, math.MaxUint16)
	}
	if o.Shorter == 0 && o.Quality > 0 {
		return errors.New("a quality is only for resized pictures: give a shorter side as well, or no quality")
	}
	return nil
}

// fileStore is a store that can return its pictures without decoding them.
type fileStore interface {
	// file appends picture i to b: an encoded file, or raw pixels if width and height
	// are not 0.
	file(i int, b []byte) (data []byte, width, height int, err error)
}

// Pack writes a whole data set as two packs into a folder, which can then be its root. It
// decodes each picture, so that the packs have none that cannot be decoded.
func Pack(ctx context.Context, src Source, dir string, o PackOptions) error {
	splits, err := openWhole(ctx, src, o)
	if err != nil {
		return err
	}
	if splits[0].partial {
		return fmt.Errorf("%s has only %v", src.Root, splits[0].Part)
	}
	return writeSplits(ctx, splits, dir, o)
}

// PartsError is the error if a set cannot be divided into K parts.
type PartsError struct {
	K, Images int // Images is the size of the training set
}

func (e *PartsError) Error() string {
	if e.K < 1 {
		return fmt.Sprintf("cannot make %d parts: give at least 1, one for each module", e.K)
	}
	return fmt.Sprintf("cannot make %d parts of %d training images: give 1 to %d", e.K, e.Images, e.Images)
}

// WriteParts writes the k parts of a data set (Set.Partition) as packs into the folders
// part-1 to part-K. Each has all evaluation images, in one file that the folders share by
// hard links if the file system supports them. If there are fewer images than parts, it
// writes nothing and returns a *PartsError.
func WriteParts(ctx context.Context, src Source, dir string, k int, seed uint64, o PackOptions) error {
	if k < 1 {
		return &PartsError{K: k}
	}
	splits, err := openWhole(ctx, src, o)
	if err != nil {
		return err
	}
	if n := splits[0].Len(); k > n {
		return &PartsError{K: k, Images: n}
	}
	first := ""
	for i := range k {
		part, err := splits[0].Partition(k, i, seed)
		if err != nil {
			return err
		}
		folder := filepath.Join(dir, fmt.Sprintf("part-%d", i+1))
		if i == 0 {
			if err := writeSplits(ctx, [2]*Set{part, splits[1]}, folder, o); err != nil {
				return err
			}
			first = filepath.Join(folder, packNames[1])
			continue
		}
		if err := writeSplit(ctx, part, folder, 0, o); err != nil {
			return err
		}
		link := filepath.Join(folder, packNames[1])
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if os.Link(first, link) == nil {
			continue
		}
		if err := writeSplit(ctx, splits[1], folder, 1, o); err != nil {
			return err
		}
	}
	return nil
}

// openWhole opens a whole data set, and reports the pictures that it leaves out.
func openWhole(ctx context.Context, src Source, o PackOptions) (splits [2]*Set, err error) {
	d, err := lookup(src.Name)
	if err != nil {
		return splits, err
	}
	if splits, err = d.read(ctx, src); err != nil {
		return splits, fmt.Errorf("data set %s: %w", src.Name, err)
	}
	if o.Skipped != nil {
		for _, s := range splits {
			for _, err := range s.Skipped {
				o.Skipped(err)
			}
		}
	}
	return splits, nil
}

func writeSplits(ctx context.Context, splits [2]*Set, dir string, o PackOptions) error {
	for i, s := range splits {
		if err := writeSplit(ctx, s, dir, i, o); err != nil {
			return err
		}
	}
	return nil
}

// writeSplit writes a set as training (0) or evaluation (1) into a folder.
func writeSplit(ctx context.Context, s *Set, dir string, split int, o PackOptions) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	if s.Store == nil {
		o.Shorter, o.Quality = 0, 0
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, packNames[split])
	file, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer file.Cleanup() // removes an unfinished file
	w := &packWriter{out: bufio.NewWriterSize(file, 1<<20), at: packHeader}
	if _, err := w.out.Write(make([]byte, packHeader)); err != nil {
		return err
	}
	if err := w.images(ctx, s, o, path); err != nil {
		return fmt.Errorf("packing %s: %w", path, err)
	}
	digest := "" // not needed for images in memory: the pack has every pixel
	if s.Store != nil {
		if digest, err = packDigest(ctx, s, o); err != nil {
			return err
		}
	}
	info, err := json.Marshal(packInfo{
		Set: s.Name, Split: [2]string{"train", "val"}[split], Classes: s.Classes,
		Channels: s.Channels, Height: s.Height, Width: s.Width,
		Whole: s.Whole, Part: s.Part, Skipped: len(s.Skipped), Shorter: o.Shorter, Quality: o.Quality, Digest: digest,
	})
	if err != nil {
		return err
	}
	tail := append(w.index, info...)
	if _, err := w.out.Write(tail); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	le := binary.LittleEndian
	header := append(make([]byte, 0, packHeader), packMagic...)
	header = le.AppendUint64(header, w.at)
	header = le.AppendUint64(header, uint64(s.Len()))
	header = le.AppendUint64(header, w.at+uint64(len(tail)))
	header = le.AppendUint32(header, crc32.Checksum(tail, castagnoli))
	if _, err := file.WriteAt(header, 0); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// packWriter writes the images of a pack and collects its index.
type packWriter struct {
	out   *bufio.Writer
	at    uint64
	index []byte
}

// packed is the stored form of an image.
type packed struct {
	data          []byte
	width, height int // of raw pixels; 0 for a file
}

// images packs some images at a time on all cores and writes them in order.
func (w *packWriter) images(ctx context.Context, s *Set, o PackOptions, path string) error {
	workers := make(chan *packer, runtime.GOMAXPROCS(0))
	for range cap(workers) {
		workers <- &packer{set: s, o: o}
	}
	chunk := make([]packed, 16*cap(workers))
	for from := 0; from < s.Len(); from += len(chunk) {
		n := min(len(chunk), s.Len()-from)
		group, ctx := errgroup.WithContext(ctx)
		for i := range n {
			group.Go(func() error {
				p := <-workers
				defer func() { workers <- p }()
				if err := context.Cause(ctx); err != nil {
					return err
				}
				return p.pack(&chunk[i], from+i)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for i, c := range chunk[:n] {
			if err := w.add(c, s.Labels[from+i]); err != nil {
				return err
			}
		}
		if o.Progress != nil {
			o.Progress(path, from+n, s.Len())
		}
	}
	return nil
}

func (w *packWriter) add(c packed, label int32) error {
	if len(c.data) > maxFile || c.width > math.MaxUint16 || c.height > math.MaxUint16 {
		return fmt.Errorf("a picture of %d bytes, %dx%d, is too large for a pack", len(c.data), c.width, c.height)
	}
	w.index = entry{
		at: w.at, size: uint32(len(c.data)), sum: crc32.Checksum(c.data, castagnoli),
		label: uint32(label), width: uint16(c.width), height: uint16(c.height),
	}.appendTo(w.index)
	w.at += uint64(len(c.data))
	_, err := w.out.Write(c.data)
	return err
}

// packer packs images one by one, in its own memory.
type packer struct {
	set     *Set
	o       PackOptions
	resizer picture.Resizer
	whole   picture.Picture
	small   picture.Picture
	rgba    image.RGBA
}

// pack packs image i.
func (p *packer) pack(out *packed, i int) error {
	out.data, out.width, out.height = out.data[:0], 0, 0
	s := p.set
	if s.Store == nil {
		out.data, out.width, out.height = append(out.data, s.Image(i)...), s.Width, s.Height
		return nil
	}
	if err := s.Store.Load(i, &p.whole); err != nil {
		return err
	}
	w, h := p.whole.Width, p.whole.Height
	large := p.o.Shorter > 0 && min(w, h) > p.o.Shorter
	if !large && (p.o.Shorter == 0 || p.o.Quality > 0) {
		var err error
		out.data, out.width, out.height, err = s.Store.(fileStore).file(i, out.data)
		return err
	}
	small := &p.whole
	if large {
		small = &p.small
		all := picture.Box{X1: float64(w), Y1: float64(h)}
		w, h = shorter(w, h, p.o.Shorter)
		p.resizer.Resize(small, &p.whole, w, h, all, picture.Bicubic)
	}
	if p.o.Quality == 0 {
		out.data, out.width, out.height = append(out.data, small.Pix...), small.Width, small.Height
		return nil
	}
	p.rgba.Stride, p.rgba.Rect = 4*w, image.Rect(0, 0, w, h)
	if n := 4 * w * h; cap(p.rgba.Pix) < n {
		p.rgba.Pix = make([]uint8, n)
	} else {
		p.rgba.Pix = p.rgba.Pix[:n]
	}
	for i := range w * h {
		copy(p.rgba.Pix[4*i:], small.Pix[3*i:3*i+3])
		p.rgba.Pix[4*i+3] = 255
	}
	b := bytes.NewBuffer(out.data)
	err := jpeg.Encode(b, &p.rgba, &jpeg.Options{Quality: p.o.Quality})
	out.data = b.Bytes()
	return err
}

// shorter returns the size of a picture of w x h whose shorter side is resized to s, as
// torchvision's Resize does.
func shorter(w, h, s int) (int, int) {
	if w <= h {
		return s, int(float64(s) * float64(h) / float64(w))
	}
	return int(float64(s) * float64(w) / float64(h)), s
}
