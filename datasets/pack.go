package datasets

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"hatchery/datasets/picture"
)

// A pack is one split of a data set in one file, which is mapped into memory: reading an
// image opens no file and, unless it is JPEG or PNG, decodes nothing. Numbers are
// little-endian:
//
//	magic            16 bytes
//	index offset     uint64, in bytes from the start
//	images           uint64, their number
//	length           uint64, of the whole file
//	CRC-32C          uint32, of index and description
//	zeros            to 64 bytes
//	images           one after another
//	index            an entry of 24 bytes per image: offset uint64, bytes uint32,
//	                 CRC-32C uint32, label uint32, width uint16, height uint16
//	description      JSON (packInfo), to the end of the file
//
// An image with a width is raw pixels, one without is a JPEG or PNG file. If all images
// have one size (packInfo.Height is not 0), they are raw in planes, channels x height x
// width, and the set uses the mapped memory as its images. Otherwise raw pixels are rows
// of interleaved channels.
const (
	packMagic  = "hatchery pack 1\n"
	packHeader = 64
	packEntry  = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packNames are the file names of the two splits.
var packNames = [2]string{"train.pack", "val.pack"}

// packInfo is the description of a pack.
type packInfo struct {
	Set                     string // name of the data set
	Split                   string // "train" or "val"
	Classes                 []string
	Channels, Height, Width int
	Whole                   int  `json:",omitempty"` // images of the set that this is a part of
	Part                    Part // of the training images
	Skipped                 int  `json:",omitempty"` // pictures that could not be decoded
	Shorter                 int  `json:",omitempty"` // length that the shorter sides were resized to; 0 if they were not
	Quality                 int  `json:",omitempty"` // of JPEG; 0 for raw pixels or the original files

	Digest string `json:",omitempty"` // see packDigest; older packs have none
}

// pack is an open pack.
type pack struct {
	path  string
	data  []byte // the whole file
	index []byte
	info  packInfo
}

// openPack maps a pack and checks everything but its images. The pack stays mapped until
// the program ends, since its images may be in use.
func openPack(path string) (*pack, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	p, err := parsePack(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; pack it again", path, err)
	}
	p.path = path
	return p, nil
}

func parsePack(data []byte) (*pack, error) {
	if len(data) < packHeader || string(data[:len(packMagic)]) != packMagic {
		return nil, errors.New("byte 0: not a pack, or one of another version")
	}
	le := binary.LittleEndian
	at, n, length, sum := le.Uint64(data[16:]), le.Uint64(data[24:]), le.Uint64(data[32:]), le.Uint32(data[40:])
	if length != uint64(len(data)) {
		return nil, fmt.Errorf("the file has %d bytes, want %d: it is truncated or was modified", len(data), length)
	}
	if n == 0 || n > math.MaxInt32 || at < packHeader || at > length || (length-at)/packEntry < n {
		return nil, fmt.Errorf("byte 16: an index of %d images at byte %d does not fit", n, at)
	}
	if got := crc32.Checksum(data[at:], castagnoli); got != sum {
		return nil, fmt.Errorf("byte %d: the checksum of the index is %08x, want %08x", at, got, sum)
	}
	p := &pack{data: data, index: data[at:][:n*packEntry]}
	if err := json.Unmarshal(data[at+n*packEntry:], &p.info); err != nil {
		return nil, fmt.Errorf("byte %d: description: %w", at+n*packEntry, err)
	}
	i := p.info
	if i.Channels < 1 || i.Channels > 4 || i.Height < 0 || i.Width < 0 || i.Height > math.MaxUint16 || i.Width > math.MaxUint16 {
		return nil, fmt.Errorf("byte %d: images of %dx%dx%d", at+n*packEntry, i.Channels, i.Height, i.Width)
	}
	next := uint64(packHeader)
	for i := range p.len() {
		e := p.entry(i)
		size := uint64(e.size)
		if e.at > at || size > at-e.at || int(e.label) >= len(p.info.Classes) {
			return nil, fmt.Errorf("byte %d: image %d of class %d has %d bytes at byte %d", at+uint64(i*packEntry), i, e.label, size, e.at)
		}
		if raw := uint64(p.info.Channels) * uint64(e.width) * uint64(e.height); e.width > 0 && size != raw {
			return nil, fmt.Errorf("byte %d: image %d of %dx%d has %d bytes, want %d", at+uint64(i*packEntry), i, e.width, e.height, size, raw)
		}
		if p.fixed() && (int(e.width) != p.info.Width || int(e.height) != p.info.Height || e.at != next) {
			return nil, fmt.Errorf("byte %d: image %d is %dx%d at byte %d, want %dx%d at byte %d", at+uint64(i*packEntry), i, e.width, e.height, e.at, p.info.Width, p.info.Height, next)
		}
		next += size
	}
	return p, nil
}

func (p *pack) len() int    { return len(p.index) / packEntry }
func (p *pack) fixed() bool { return p.info.Height > 0 && p.info.Width > 0 }

type entry struct {
	at               uint64
	size, sum, label uint32
	width, height    uint16
}

func (p *pack) entry(i int) entry {
	b, le := p.index[i*packEntry:], binary.LittleEndian
	return entry{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint16(b[20:]), le.Uint16(b[22:])}
}

func (e entry) appendTo(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, e.at)
	for _, v := range []uint32{e.size, e.sum, e.label} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint16(le.AppendUint16(b, e.width), e.height)
}

// image returns the bytes of image i after checking them.
func (p *pack) image(i int) (entry, []byte, error) {
	e := p.entry(i)
	data := p.data[e.at:][:e.size]
	if got := crc32.Checksum(data, castagnoli); got != e.sum {
		return e, nil, fmt.Errorf("%s: image %d at byte %d: checksum is %08x, want %08x: the pack is damaged, pack it again", p.path, i, e.at, got, e.sum)
	}
	return e, data, nil
}

// Load implements Store.
func (p *pack) Load(i int, out *picture.Picture) error {
	e, data, err := p.image(i)
	if err != nil {
		return err
	}
	if e.width > 0 {
		out.Reset(int(e.width), int(e.height), p.info.Channels)
		copy(out.Pix, data)
		return nil
	}
	if err := picture.Decode(data, out); err != nil {
		return fmt.Errorf("%s: image %d at byte %d: %w", p.path, i, e.at, err)
	}
	return nil
}

// file implements fileStore.
func (p *pack) file(i int, b []byte) ([]byte, int, int, error) {
	e, data, err := p.image(i)
	return append(b, data...), int(e.width), int(e.height), err
}

// verify checks every image.
func (p *pack) verify(ctx context.Context) error {
	for i := range p.len() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, _, err := p.image(i); err != nil {
			return err
		}
	}
	return nil
}

// set returns the pack as a set, with the mean and deviation of spec.
func (p *pack) set(spec Spec) *Set {
	spec.Classes, spec.Channels, spec.Height, spec.Width = p.info.Classes, p.info.Channels, p.info.Height, p.info.Width
	s := &Set{Spec: spec, Labels: make([]int32, p.len()), Whole: p.info.Whole, Part: p.info.Part}
	for i := range s.Labels {
		s.Labels[i] = int32(p.entry(i).label)
	}
	s.partial = p.info.Part.K > 0
	if p.fixed() {
		n := s.Len() * spec.pixels()
		s.Images = p.data[packHeader : packHeader+n : packHeader+n]
	} else {
		s.Store = p
	}
	return s
}

// findPacks opens the packs of a data set in the root or the first default folder that
// has some. It returns nil if there are none.
func findPacks(d *dataset, root string) ([]*pack, error) {
	dirs := []string{root}
	if root == "" {
		dirs = defaultFolders(d.info.Name)
	}
	for _, dir := range dirs {
		var found []string
		for _, name := range packNames {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				found = append(found, name)
			}
		}
		if len(found) == 0 {
			continue
		}
		if len(found) == 1 {
			i := slices.Index(packNames[:], found[0])
			return nil, fmt.Errorf("%s has %s and lacks %s: %w", dir, found[0], packNames[1-i], fs.ErrNotExist)
		}
		var packs []*pack
		for _, name := range packNames {
			p, err := openPack(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			packs = append(packs, p)
		}
		return packs, d.checkPacks(packs)
	}
	return nil, nil
}

// checkPacks checks that packs belong to this data set and are complete.
func (d *dataset) checkPacks(packs []*pack) error {
	for i, p := range packs {
		if p.info.Set != d.info.Name {
			return fmt.Errorf("%s is a pack of the data set %s", p.path, p.info.Set)
		}
		if want := [2]string{"train", "val"}[i]; p.info.Split != want {
			return fmt.Errorf("%s has the split %s, want %s", p.path, p.info.Split, want)
		}
		if !slices.Equal(p.info.Classes, packs[0].info.Classes) || d.info.Classes != nil && !slices.Equal(p.info.Classes, d.info.Classes) {
			return fmt.Errorf("%s: the classes are %s, not those of %s", p.path, abridged(p.info.Classes), d.info.Name)
		}
		want := [2]int{d.info.Train, d.info.Eval}[i]
		if n := max(p.len(), p.info.Whole) + p.info.Skipped; want > 0 && n != want {
			return fmt.Errorf("%s has %d images, want %d of %s", p.path, n, want, d.info.Name)
		}
	}
	return nil
}

// outline checks the files of a set: packs, or else the original files.
func (d *dataset) outline(ctx context.Context, src Source) ([2]*Set, error) {
	packs, err := findPacks(d, src.Root)
	if packs == nil || err != nil {
		if err != nil {
			return [2]*Set{}, err
		}
		return d.format.outline(ctx, d, src)
	}
	return [2]*Set{packs[0].set(d.info.Spec), packs[1].set(d.info.Spec)}, nil
}

// read returns the sets of outline with their images.
func (d *dataset) read(ctx context.Context, src Source) (splits [2]*Set, err error) {
	packs, err := findPacks(d, src.Root)
	if packs == nil || err != nil {
		if err != nil {
			return splits, err
		}
		return d.format.read(ctx, d, src)
	}
	for i, p := range packs {
		splits[i] = p.set(d.info.Spec)
		if p.fixed() { // otherwise Load checks each image
			if err := p.verify(ctx); err != nil {
				return splits, err
			}
		}
	}
	return splits, nil
}
