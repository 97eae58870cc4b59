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

// digester is a store that can identify its pictures without decoding them.
type digester interface {
	// digest returns "" if the pictures cannot be identified.
	digest(ctx context.Context) (string, error)
}

// Digest identifies the images of a set and their order: sets with the same digest
// give the same batches. It decodes nothing.
//
// For images in memory the digest covers every pixel and label. For a folder of
// pictures it covers the relative path and the size of each file, but only some sizes
// if there are more than maxSizes files. A pack that keeps files byte for byte has the
// digest of the folder that it was made from.
//
// The digest is "" if the images are not known, as for an Outline of a set whose
// images would be in memory.
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

// maxSizes limits the pictures of a folder whose sizes are read, at equal distances in
// the list. Reading the sizes of all pictures of ImageNet takes four times as long as
// listing their names, and minutes on a network file system. If a whole set was scaled
// or encoded again, any of the sizes shows it.
const maxSizes = 1 << 14

func (s *folderStore) digest(ctx context.Context) (string, error) {
	s.digestMu.Lock()
	defer s.digestMu.Unlock()
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
			// The zero byte separates paths, since no name contains one.
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

// digest implements digester. It returns the digest that the pack records, or for an
// older pack, which records none, a digest of its index.
func (p *pack) digest(context.Context) (string, error) {
	if p.info.Digest != "" {
		return p.info.Digest, nil
	}
	h := sha256.New()
	fmt.Fprintf(h, "pack %d\n", p.len())
	for i := range p.len() {
		e := p.entry(i)
		e.at = 0 // the positions of the images do not matter
		h.Write(e.appendTo(nil))
	}
	return hexadecimal(h), nil
}

// packDigest returns the digest of set s after packing with the given options.
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

// writeIndices writes non-negative numbers as four bytes each.
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

// Outline is like Open, but does not read images into memory. Sets with a Store are
// complete; others have labels but no images. It costs as much as Check.
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
