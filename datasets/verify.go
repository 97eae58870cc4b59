package datasets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Verify reads all of a data set: what Check leaves out, every compressed image
// is decoded, every picture and every image of a pack. The error has all the
// pictures that are damaged, at most maxDamaged of them.
func Verify(ctx context.Context, src Source) error {
	d, err := lookup(src.Name)
	if err != nil {
		return err
	}
	splits, err := d.read(ctx, src)
	if err != nil {
		return fmt.Errorf("data set %s: %w", d.info.Name, err)
	}
	var damaged []error
	for _, s := range splits {
		bad, err := s.damaged(ctx)
		if err != nil {
			return err
		}
		damaged = append(damaged, bad...)
	}
	if n := len(damaged); n > maxDamaged {
		damaged = append(damaged[:maxDamaged], fmt.Errorf("and %d more", n-maxDamaged))
	}
	if len(damaged) > 0 {
		return fmt.Errorf("data set %s has damaged pictures:\n%w", d.info.Name, errors.Join(damaged...))
	}
	return nil
}

// maxDamaged is how many damaged pictures are named.
const maxDamaged = 100

// damaged decodes the pictures of a store and returns the errors of those that
// cannot be, in their order.
func (s *Set) damaged(ctx context.Context) ([]error, error) {
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
