package datasets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Verify reads all of a data set. Unlike Check, it decodes every compressed image, every
// picture and every image of a pack. The error lists the pictures that cannot be decoded:
// at most maxNamed damaged ones, and maxNamed valid ones of a form that this build cannot
// read.
func Verify(ctx context.Context, src Source) error {
	d, err := lookup(src.Name)
	if err != nil {
		return err
	}
	splits, err := d.read(ctx, src)
	if err != nil {
		return fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	var all []error
	for _, s := range splits {
		bad, err := s.undecodable(ctx)
		if err != nil {
			return err
		}
		all = append(all, bad...)
	}
	if len(all) == 0 {
		return nil
	}
	damaged, unsupported := byCause(all)
	return fmt.Errorf("data set %s has pictures that cannot be decoded, %s:\n%w", d.info.Name, Undecodable(all),
		errors.Join(append(abridge(damaged), abridge(unsupported)...)...))
}

// maxNamed limits the pictures of either kind that an error names.
const maxNamed = 100

// abridge keeps the first maxNamed errors and adds the number of the others.
func abridge(errs []error) []error {
	if n := len(errs); n > maxNamed {
		errs = append(errs[:maxNamed:maxNamed], fmt.Errorf("and %d more", n-maxNamed))
	}
	return errs
}

// undecodable decodes the pictures of a store and returns the errors of those that
// cannot be decoded, in order.
func (s *Set) undecodable(ctx context.Context) ([]error, error) {
	if s.Store == nil {
		return nil, nil // its images were read and checked
	}
	found := map[int]error{}
	err := decodeAll(ctx, s.Store, s.Len(), func(i int, err error) {
		if err != nil {
			found[i] = err
		}
	})
	var errs []error
	for _, i := range slices.Sorted(maps.Keys(found)) {
		errs = append(errs, found[i])
	}
	return errs, err
}
