package datasets

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
)

// digester is a store that can tell which pictures it has without decoding them.
type digester interface {
	// digest is "" where they are not known by anything.
	digest(ctx context.Context) (string, error)
}

// Digest stands for the images of a set and their order: sets of the same digest
// give the same batches. It decodes nothing.
//
// Of images in memory it covers every pixel and label. Of a folder of pictures it
// covers the path of each below the folder and the size of its file, of many
// pictures the sizes of some (maxSizes). A pack that keeps files byte for byte has
// the digest of the folder it was made from.
//
// It is "" where the images are not known: those of an outline (Outline) that
// would be in memory.
func (s *Set) Digest(ctx context.Context) (string, error) {
	if s.Store != nil {
		if d, ok := s.Store.(digester); ok {
			return d.digest(ctx)
		}
		return "", nil
	}
	if s.Images == nil {
		return "", nil
	}
	h := sha256.New()
	fmt.Fprintf(h, "images %d %d %d %d\n", s.Len(), s.Channels, s.Height, s.Width)
	writeIndices(h, s.Labels)
	h.Write(s.Images)
	return hexadecimal(h), nil
}

// maxSizes is of how many pictures of a folder the size is looked up: of all, or
// of so many at equal distances. To ask for the size of every picture of ImageNet
// takes four times as long as to list their names, and on a network's file system
// minutes. A set that was scaled or encoded anew is told by any of them.
const maxSizes = 1 << 14

func (s *folderStore) digest(ctx context.Context) (string, error) {
	s.digested.Lock()
	defer s.digested.Unlock()
	if s.digestValue != "" {
		return s.digestValue, nil
	}
	n := s.count()
	every := (n + maxSizes - 1) / maxSizes
	sizes := make([]int64, (n+every-1)/every)
	err := inParallel(ctx, len(sizes), func(ctx context.Context, from, to int) error {
		for i := from; i < to; i++ {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			info, err := os.Stat(s.path(i * every))
			if err != nil {
				return err
			}
			sizes[i] = info.Size()
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "pictures %d\n", n)
	var b []byte
	i := 0
	for d := range s.dirs {
		b = b[:0]
		for _, name := range s.dirs[d].names {
			// No name has a zero byte in it.
			b = append(append(append(append(b, s.dirs[d].path...), '/'), name...), 0)
			if i%every == 0 {
				b = binary.LittleEndian.AppendUint64(b, uint64(sizes[i/every]))
			}
			i++
		}
		h.Write(b)
	}
	s.digestValue = hexadecimal(h)
	return s.digestValue, nil
}

// digest implements digester: what the pack says it was made from, or, where it
// is older than that, its index.
func (p *pack) digest(context.Context) (string, error) {
	if p.info.Digest != "" {
		return p.info.Digest, nil
	}
	h := sha256.New()
	fmt.Fprintf(h, "pack %d\n", p.len())
	for i := range p.len() {
		e := p.entry(i)
		e.at = 0 // where an image lies does not matter
		h.Write(e.appendTo(nil))
	}
	return hexadecimal(h), nil
}

// packDigest is the digest of a set as a pack keeps it with the given options.
func packDigest(ctx context.Context, s *Set, o PackOptions) (string, error) {
	digest, err := s.Digest(ctx)
	if err != nil || digest == "" || o.Shorter == 0 {
		return digest, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "packed %s shorter %d quality %d\n", digest, o.Shorter, o.Quality)
	return hexadecimal(h), nil
}

func (s *partStore) digest(ctx context.Context) (string, error) {
	all, ok := s.all.(digester)
	if !ok {
		return "", nil
	}
	digest, err := all.digest(ctx)
	if err != nil || digest == "" {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "part %d of %s\n", len(s.images), digest)
	writeIndices(h, s.images)
	return hexadecimal(h), nil
}

// writeIndices writes numbers that are not negative as four bytes each.
func writeIndices[T int | int32](h hash.Hash, all []T) {
	var b []byte
	for i, x := range all {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
		if len(b) >= 1<<12 || i+1 == len(all) {
			h.Write(b)
			b = b[:0]
		}
	}
}

func hexadecimal(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Outline is Open without the pixels: sets of pictures that are loaded when they
// are needed are complete, others have labels and no images. It costs what Check
// costs.
func Outline(ctx context.Context, src Source) (train, eval *Set, err error) {
	d, err := lookup(src.Name)
	if err != nil {
		return nil, nil, err
	}
	splits, err := d.outline(ctx, src)
	if err != nil {
		return nil, nil, fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	return src.parts(splits)
}
