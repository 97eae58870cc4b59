// Package datasets turns a named set of images into batches for training and
// evaluation: it reads the files, takes class-balanced parts, augments and
// mixes as DeiT does, and prepares batches ahead of the one in use.
//
//	train, eval, err := datasets.Open(ctx, datasets.Source{Name: "fashion-mnist-5k"})
//	...
//	l, err := datasets.NewTrainLoader(train, datasets.Options{Batch: 100, Prefetch: 2},
//		datasets.Training{Seed: 1, Purpose: "meta", Augment: augment})
//	...
//	for b, err := range l.Epoch(ctx, epoch, 0) {
//		if err != nil {
//			return err
//		}
//		step(b.Images, b.Targets)
//	}
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

	// Store has the images that are too many for memory. Images is then empty,
	// and Height and Width of the Spec are 0. Nil: Images has them all.
	Store Store
}

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
	Seed        uint64 // decides which images are in the part
}

// dataset is an entry of the list of known data sets.
type dataset struct {
	info   Info
	splits [2]idxFiles // training, evaluation

	// find says where the files are, for a Root given by the user or none.
	find  func(d *dataset, root string) (folder, error)
	getIt string // what to do if they are nowhere
}

var known = []*dataset{&embedded, &fashionMNIST}

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

// Describe tells what a data set holds without touching its files.
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
	train, eval, err = d.open(ctx, src.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	if train, err = train.part(src.Train, src.Seed); err != nil {
		return nil, nil, fmt.Errorf("training images: %w", err)
	}
	if eval, err = eval.part(src.Eval, src.Seed); err != nil {
		return nil, nil, fmt.Errorf("evaluation images: %w", err)
	}
	return train, eval, nil
}

// part is all of the set or, if n is not 0, a class-balanced part of n images.
func (s *Set) part(n int, seed uint64) (*Set, error) {
	if n == 0 {
		return s, nil
	}
	return s.Balanced(n, seed)
}

// Check finds out, without decoding the images, whether Open would succeed: the
// files exist, have the right shape and size, their labels are valid, and the
// parts asked for can be had. Only damage inside of compressed images is left
// for Open to find.
func Check(ctx context.Context, src Source) error {
	d, err := lookup(src.Name)
	if err != nil {
		return err
	}
	return d.check(ctx, src)
}

func (d *dataset) check(ctx context.Context, src Source) error {
	f, err := d.find(d, src.Root)
	if err != nil {
		return fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	for i, want := range []int{src.Train, src.Eval} {
		labels, err := d.splits[i].check(ctx, f, &d.info.Spec)
		if err != nil {
			return fmt.Errorf("data set %s: %w", d.info.Name, err)
		}
		if want == 0 {
			continue
		}
		if _, err := quota(&d.info.Spec, labels, want); err != nil {
			return fmt.Errorf("%s images: %w", [2]string{"training", "evaluation"}[i], err)
		}
	}
	return nil
}
