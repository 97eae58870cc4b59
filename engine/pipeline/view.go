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

// view is the data set of an experiment on this machine.
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

// recordedClasses returns class names as they are recorded in an identity. An identity is
// JSON, so names that are not UTF-8, such as folder names in Latin-1, are escaped.
func recordedClasses(classes []string) []string {
	all := slices.Clone(classes)
	for i, name := range all {
		if !utf8.ValidString(name) {
			all[i] = printable.Line(name)
		}
	}
	return all
}

// common returns the fields of runs.Data that are the same for every stage.
func (v *view) common(ctx context.Context) (runs.Data, error) {
	eval, err := v.images(ctx, v.eval)
	return runs.Data{Classes: recordedClasses(v.train.Classes), Eval: eval}, err
}

// stageData returns the data of a stage that trains on set, which is nil for a stage that
// does not train.
func (v *view) stageData(ctx context.Context, set *datasets.Set) (runs.Data, error) {
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

// trainSet returns the images that a stage trains on: all of them, its part, or nil for a
// stage that does not train.
func (v *view) trainSet(s method.Stage) (*datasets.Set, error) {
	switch {
	case !s.Trains():
		return nil, nil
	case s.Module > 0 && v.config.Data.Partition:
		return v.train.Partition(v.config.Modules.K, s.Module-1, partitionSeed)
	}
	return v.train, nil
}

// currentData returns a function that returns the data that a stage would use now. For a
// finished stage with its own part of the images, it leaves out the training images.
func (v *view) currentData(ctx context.Context) func(*startedStage) (runs.Data, error) {
	return func(b *startedStage) (runs.Data, error) {
		if b.done && (b.Module > 0 && v.config.Data.Partition || v.train.Part.K > 0) {
			return v.common(ctx) // the part is not needed any more, and may be on another machine
		}
		set, err := v.trainSet(b.Stage)
		if err != nil {
			return runs.Data{}, err
		}
		return v.stageData(ctx, set)
	}
}

// otherClass describes the first difference between two lists of classes. It returns "" if
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

// otherImages describes how the images of a split have changed. It returns "" if they have
// not changed, or if that is unknown.
func otherImages(was, now runs.Images) string {
	_, before := splitLast(was.Digest)
	_, after := splitLast(now.Digest)
	switch {
	case was.Count == 0 || now.Count == 0:
	case was.Count != now.Count:
		return fmt.Sprintf("there were %d, now there are %d", was.Count, now.Count)
	case before != "" && after != "" && before != after:
		return fmt.Sprintf("there are still %d, but files were renamed, replaced or moved between classes", now.Count)
	}
	return ""
}

// SameImages reports whether two records of the images of a split are not known to differ.
func SameImages(a, b runs.Images) bool { return otherImages(a, b) == "" }

// CurrentData returns the data that a stage that trains on all images of a data set would use
// now. It leaves out a split of which only a part is present.
func CurrentData(ctx context.Context, src datasets.Source) (runs.Data, error) {
	train, eval, err := datasets.Outline(ctx, src)
	if err != nil {
		return runs.Data{}, err
	}
	d := runs.Data{Classes: recordedClasses(train.Classes)}
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
