package pipeline

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// view is the data set of an experiment as it is on this machine.
type view struct {
	config  *presets.Config
	train   *datasets.Set
	eval    *datasets.Set
	digests map[*datasets.Set]string
}

func newView(c *presets.Config, train, eval *datasets.Set) *view {
	return &view{c, train, eval, map[*datasets.Set]string{}}
}

func (v *view) images(ctx context.Context, s *datasets.Set) (runs.Images, error) {
	digest, ok := v.digests[s]
	if !ok {
		var err error
		if digest, err = s.Digest(ctx); err != nil {
			return runs.Images{}, err
		}
		if s == v.train || s == v.eval {
			v.digests[s] = digest
		}
	}
	return runs.Images{Count: s.Len(), Digest: digest}, nil
}

// recorded returns class names as an identity has them, which is JSON: of a name
// that is not UTF-8, such as that of a folder in Latin-1, it would lose bytes.
func recorded(classes []string) []string {
	all := slices.Clone(classes)
	for i, name := range all {
		if !utf8.ValidString(name) {
			all[i] = printable.Line(name)
		}
	}
	return all
}

// common returns the part of runs.Data that is the same for every stage.
func (v *view) common(ctx context.Context) (runs.Data, error) {
	eval, err := v.images(ctx, v.eval)
	return runs.Data{Classes: recorded(v.train.Classes), Eval: eval}, err
}

// of returns the data of a stage that trains on set. set is nil for a stage that
// does not train.
func (v *view) of(ctx context.Context, set *datasets.Set) (runs.Data, error) {
	d, err := v.common(ctx)
	if err != nil || set == nil {
		return d, err
	}
	if d.Train, err = v.images(ctx, set); err != nil {
		return d, err
	}
	d.Epoch = epochImages(v.config, v.train)
	if set.Part.K > 0 {
		d.Part = set.Part.String()
	}
	return d, nil
}

// trainSet returns the images that a stage trains on, all of them or its part. It
// is nil for a stage that does not train.
func (v *view) trainSet(s method.Stage) (*datasets.Set, error) {
	switch {
	case !s.Trains():
		return nil, nil
	case s.Module > 0 && v.config.Data.Partition:
		return v.train.Partition(v.config.Modules.K, s.Module-1, partitionSeed)
	}
	return v.train, nil
}

// sees returns a function that finds the data that a stage would see now. For a
// finished stage with its own part of the images, that part is left out.
func (v *view) sees(ctx context.Context) func(*begun) (runs.Data, error) {
	return func(b *begun) (runs.Data, error) {
		if b.done && (b.Module > 0 && v.config.Data.Partition || v.train.Part.K > 0) {
			return v.common(ctx) // the part is no longer needed, and may be on another machine
		}
		set, err := v.trainSet(b.Stage)
		if err != nil {
			return runs.Data{}, err
		}
		return v.of(ctx, set)
	}
}

// otherClass describes the first difference between two lists of classes, "" if
// there is none.
func otherClass(was, now []string) string {
	for i := range max(len(was), len(now)) {
		switch {
		case i >= len(now):
			return fmt.Sprintf("there were %d classes and are %d: %q is missing", len(was), len(now), was[i])
		case i >= len(was):
			return fmt.Sprintf("there were %d classes and are %d: %q is new", len(was), len(now), now[i])
		case was[i] != now[i]:
			return fmt.Sprintf("class %d of %d was %q and is %q", i+1, len(was), was[i], now[i])
		}
	}
	return ""
}

// otherImages describes how the images of a split have changed, "" if they have
// not, or if that is not known.
func otherImages(was, now runs.Images) string {
	_, before := split(was.Digest)
	_, after := split(now.Digest)
	switch {
	case was.Count == 0 || now.Count == 0:
	case was.Count != now.Count:
		return fmt.Sprintf("there were %d, now there are %d", was.Count, now.Count)
	case before != "" && after != "" && before != after:
		return fmt.Sprintf("there are %d as before, but files were renamed, replaced or moved between classes", now.Count)
	}
	return ""
}

// SameImages reports whether two stages had the same images of a split, as far as that
// is known.
func SameImages(a, b runs.Images) bool { return otherImages(a, b) == "" }

// Present returns what a stage that trains on all images of a data set would see of it
// now, as an identity has it. Where only a part of the images is there, that split is
// left out.
func Present(ctx context.Context, src datasets.Source) (runs.Data, error) {
	train, eval, err := datasets.Outline(ctx, src)
	if err != nil {
		return runs.Data{}, err
	}
	d := runs.Data{Classes: recorded(train.Classes)}
	v := newView(nil, train, eval)
	if train.Part.K == 0 {
		if d.Train, err = v.images(ctx, train); err != nil {
			return runs.Data{}, err
		}
	}
	if eval.Part.K == 0 {
		if d.Eval, err = v.images(ctx, eval); err != nil {
			return runs.Data{}, err
		}
	}
	return d, nil
}
