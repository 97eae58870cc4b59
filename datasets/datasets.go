// Package datasets turns a named set of images into batches for training and
// evaluation: it reads the files, takes class-balanced parts, augments and
// mixes as DeiT does, and prepares batches ahead of the one in use.
//
// Everything random is a function of seed, purpose, epoch and step or sample
// (package random): the same batches come out whatever the number of workers,
// and an epoch that is taken up in its middle goes on as it would have.
package datasets

import (
	"context"
	"fmt"
	"strings"
)

// Spec is what a network must know of a data set: the shape of its images, how
// to normalise them, and what the classes are.
type Spec struct {
	Name                    string   // as in Source.Name
	Classes                 []string // names; a label is an index into them
	Channels, Height, Width int      // of one image; Height and Width are 0 where every image has its own (see Set.Store)

	// Mean and standard deviation of each channel over all training images,
	// pixels in 0..1.
	Mean, Std []float32
}

// Info describes a data set without its pixels.
type Info struct {
	Spec
	About       string // one line for lists
	Train, Eval int    // number of images
	Part        Part   // of the training images that is all a copy has; see Inspect
}

// Set is the images of one split, training or evaluation. It is shared: nobody
// changes it once it is made.
type Set struct {
	Spec
	Images []uint8 // N x Channels x Height x Width, as in the files
	Labels []int32 // N, 0 <= label < len(Classes)

	// Whole is the number of images of the set that this is a part of; 0 for
	// one that is whole. Steps of Whole (Options.Steps) train a part as long as
	// the whole.
	Whole int

	// Part says which of the parts of a partition this is; the zero value if it
	// is none.
	Part    Part
	partial bool // a copy that has this part only, and nobody has asked for it yet

	// Skipped are the pictures that were left out because they cannot be
	// decoded, each an error that names the file (Source.SkipCorrupt); see
	// Undecodable.
	Skipped []error

	// Store has the images that are too many for memory. Images is then empty,
	// and Height and Width of the Spec are 0. Nil: Images has them all.
	Store Store
}

// Part is part Index, from 0, of K parts of a set (see Set.Partition).
type Part struct {
	K, Index int    `json:",omitempty"`
	Seed     uint64 `json:",omitempty"`
}

func (p Part) String() string { return fmt.Sprintf("part %d of %d (seed %d)", p.Index+1, p.K, p.Seed) }

// Len is the number of images.
func (s *Set) Len() int { return len(s.Labels) }

// Image returns the pixels of image i, Channels x Height x Width. They are the
// set's own: do not change them.
func (s *Set) Image(i int) []uint8 {
	n := s.pixels()
	return s.Images[i*n : (i+1)*n : (i+1)*n]
}

// pixels is the number of bytes of one image.
func (s *Spec) pixels() int { return s.Channels * s.Height * s.Width }

// Source names a data set and the part of it to use.
type Source struct {
	Name string // one of Names
	Root string // folder with its files; empty: the usual places

	// Size of a class-balanced part of the training and evaluation images
	// (see Set.Balanced); 0: all of them.
	Train, Eval int
	Fraction    float64 // of the training images of each class (see Set.Fraction); 0 or 1: all
	Seed        uint64  // decides which images are in the part

	// SkipCorrupt leaves out pictures that cannot be decoded (Set.Skipped)
	// rather than fail. To find them, every picture is decoded once.
	SkipCorrupt bool
}

// dataset is an entry of the list of known data sets.
type dataset struct {
	info   Info
	format format
	getIt  string // what to do if its files are nowhere
}

// format is the kind of files that a data set is kept in. Training comes first
// in what both return.
type format interface {
	// outline checks the files as far as that goes without decoding pixels.
	// The sets have labels and no images.
	outline(ctx context.Context, d *dataset, src Source) ([2]*Set, error)

	// read is outline with the images.
	read(ctx context.Context, d *dataset, src Source) ([2]*Set, error)
}

var known = []*dataset{&embedded, &fashionMNIST, &cifar10, &cifar100, &imageNet, &imageFolder}

func lookup(name string) (*dataset, error) {
	for _, d := range known {
		if d.info.Name == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("unknown data set %q; known are %s", name, strings.Join(Names(), ", "))
}

// Names lists the known data sets.
func Names() []string {
	var names []string
	for _, d := range known {
		names = append(names, d.info.Name)
	}
	return names
}

// Describe tells what is known of a data set without touching its files.
func Describe(name string) (Info, error) {
	d, err := lookup(name)
	if err != nil {
		return Info{}, err
	}
	return d.info, nil
}

// Open reads the training and evaluation images of a data set. The embedded set
// is decoded once and shared by all callers. An error names the file, the place
// in it, what was found there and what was expected.
func Open(ctx context.Context, src Source) (train, eval *Set, err error) {
	d, err := lookup(src.Name)
	if err != nil {
		return nil, nil, err
	}
	return d.load(ctx, src)
}

func (d *dataset) load(ctx context.Context, src Source) (train, eval *Set, err error) {
	splits, err := d.read(ctx, src)
	if err != nil {
		return nil, nil, fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	return src.parts(splits)
}

// Check finds out, without decoding the images, whether Open would succeed: the
// files exist, have the right shape and size, their labels are valid, and the
// parts asked for can be had. Only damage inside of compressed images is left
// for Open to find, and that inside of pictures that are not kept in memory for
// those who load them.
func Check(ctx context.Context, src Source) error {
	_, err := Inspect(ctx, src)
	return err
}

// Inspect is Check that tells what it found: Describe with what only the files
// know, and the number of images without those that were skipped. The part that
// the source asks for does not count.
func Inspect(ctx context.Context, src Source) (Info, error) {
	d, err := lookup(src.Name)
	if err != nil {
		return Info{}, err
	}
	return d.inspect(ctx, src)
}

func (d *dataset) inspect(ctx context.Context, src Source) (Info, error) {
	splits, err := d.outline(ctx, src)
	if err != nil {
		return Info{}, fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	if err := src.check(splits); err != nil {
		return Info{}, err
	}
	info := d.info
	info.Spec, info.Part = splits[0].Spec, splits[0].Part
	info.Train, info.Eval = max(splits[0].Len(), splits[0].Whole), splits[1].Len()
	return info, nil
}

// parts takes the parts that the source asks for.
func (src *Source) parts(splits [2]*Set) (train, eval *Set, err error) {
	if err := src.check(splits); err != nil {
		return nil, nil, err
	}
	train, eval = splits[0], splits[1]
	if src.Fraction != 0 && src.Fraction != 1 {
		if train, err = train.Fraction(src.Fraction, src.Seed); err != nil {
			return nil, nil, fmt.Errorf("training images: %w", err)
		}
	}
	if src.Train != 0 {
		if train, err = train.Balanced(src.Train, src.Seed); err != nil {
			return nil, nil, fmt.Errorf("training images: %w", err)
		}
	}
	if src.Eval != 0 {
		if eval, err = eval.Balanced(src.Eval, src.Seed); err != nil {
			return nil, nil, fmt.Errorf("evaluation images: %w", err)
		}
	}
	return train, eval, nil
}

// check finds out whether the parts that the source asks for can be had.
func (src *Source) check(splits [2]*Set) error {
	train, eval := splits[0], splits[1]
	if train.partial && (src.Train != 0 || src.Fraction != 0 && src.Fraction != 1) {
		return fmt.Errorf("training images: this copy has %v only, and a part of all of them was asked for", train.Part)
	}
	if src.Fraction != 0 && src.Fraction != 1 {
		if src.Train != 0 {
			return fmt.Errorf("training images: both a part of %d and a fraction of %v were asked for: give one of them", src.Train, src.Fraction)
		}
		if _, err := share(&train.Spec, train.Labels, src.Fraction); err != nil {
			return fmt.Errorf("training images: %w", err)
		}
	}
	if src.Train != 0 {
		if _, err := quota(&train.Spec, train.Labels, src.Train); err != nil {
			return fmt.Errorf("training images: %w", err)
		}
	}
	if src.Eval != 0 {
		if _, err := quota(&eval.Spec, eval.Labels, src.Eval); err != nil {
			return fmt.Errorf("evaluation images: %w", err)
		}
	}
	return nil
}
