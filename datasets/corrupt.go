package datasets

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hatchery/datasets/picture"
)

// findCorrupt decodes all pictures and returns the errors of those that cannot be
// decoded, by index. It skips pictures that it decoded before and that have not been
// written since, which a file of the user's cache records.
func (s *folderStore) findCorrupt(ctx context.Context) (map[int]error, error) {
	prints := make([]uint64, s.count())
	err := inParallel(ctx, len(prints), func(ctx context.Context, from, to int) (err error) {
		for i := from; i < to && err == nil; i++ {
			if prints[i], err = fileFingerprint(s.path(i)); err == nil {
				err = context.Cause(ctx)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	cache := indexPath(s.root, decodedKind())
	known := readFingerprints(cache)
	var good []uint64
	var unknown []int
	for i, print := range prints {
		if _, ok := slices.BinarySearch(known, print); ok {
			good = append(good, print)
		} else {
			unknown = append(unknown, i)
		}
	}
	if len(unknown) == 0 {
		return nil, nil
	}
	bad := map[int]error{}
	err = decodeAll(ctx, &partStore{s, unknown}, len(unknown), func(i int, err error) {
		if err != nil {
			bad[unknown[i]] = err
		} else {
			good = append(good, prints[unknown[i]])
		}
	})
	if cache != "" {
		// The results of an interrupted search are recorded too. If writing fails,
		// the next search only takes longer.
		_ = writeFingerprints(cache, good)
	}
	return bad, err
}

// decodedKind returns the kind of the cache file that records which pictures could be
// decoded. Each decoder has its own.
func decodedKind() string {
	if picture.Decoder == "go" {
		return "decoded"
	}
	return "decoded-" + picture.Decoder
}

// Undecodable returns the numbers of pictures that cannot be decoded, given their errors:
// "2 damaged", or "1 damaged and 3 that are valid, but of a form that this build cannot
// read".
func Undecodable(errs []error) string {
	_, unsupported := byCause(errs)
	switch damaged := len(errs) - len(unsupported); {
	case len(unsupported) == 0:
		return fmt.Sprintf("%d damaged", damaged)
	case damaged == 0:
		return fmt.Sprintf("%d that are valid, but of a form that this build cannot read", len(unsupported))
	default:
		return fmt.Sprintf("%d damaged and %d that are valid, but of a form that this build cannot read", damaged, len(unsupported))
	}
}

// byCause divides errors into those of damaged pictures and those of valid pictures
// that this build cannot read. Both keep their order.
func byCause(errs []error) (damaged, unsupported []error) {
	for _, err := range errs {
		if _, ok := errors.AsType[*picture.Unsupported](err); ok {
			unsupported = append(unsupported, err)
		} else {
			damaged = append(damaged, err)
		}
	}
	return damaged, unsupported
}

// decodeAll decodes n pictures on all cores and calls report for each, one at a time, in
// any order. The error that it returns is not about a picture's content.
func decodeAll(ctx context.Context, s Store, n int, report func(i int, err error)) error {
	var reporting sync.Mutex
	return inParallel(ctx, n, func(ctx context.Context, from, to int) error {
		var p picture.Picture
		for i := from; i < to; i++ {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			err := s.Load(i, &p)
			if isFileError(err) {
				return err
			}
			reporting.Lock()
			report(i, err)
			reporting.Unlock()
		}
		return nil
	})
}

// inParallel calls do for portions of 0 to n-1 on all cores, until one fails.
func inParallel(ctx context.Context, n int, do func(ctx context.Context, from, to int) error) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	const portion = 64
	for from := 0; from < n; from += portion {
		work.Go(func() error { return do(ctx, from, min(from+portion, n)) })
	}
	return work.Wait()
}

// isFileError reports whether err is a failure of the file system, which must not be
// skipped, rather than a fault of a picture.
func isFileError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// fileFingerprint returns a number that changes when the file is written. For a file
// written just now, it changes with every call, since another write could have the same
// time.
func fileFingerprint(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if now := time.Now(); now.Sub(info.ModTime()) < mtimeStep {
		return fingerprint(fmt.Sprintf("%s\x00%v", path, now)), nil
	}
	return fingerprint(fmt.Sprintf("%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano())), nil
}

func fingerprint(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.LittleEndian.Uint64(sum[:])
}

// readFingerprints reads a sorted list. It returns none if the file is missing or
// incomplete.
func readFingerprints(path string) []uint64 {
	data, err := os.ReadFile(path)
	if err != nil || len(data)%8 != 0 {
		return nil
	}
	prints := make([]uint64, len(data)/8)
	for i := range prints {
		prints[i] = binary.LittleEndian.Uint64(data[8*i:])
	}
	if !slices.IsSorted(prints) {
		return nil
	}
	return prints
}

func writeFingerprints(path string, prints []uint64) error {
	slices.Sort(prints)
	prints = slices.Compact(prints)
	data := make([]byte, 0, 8*len(prints))
	for _, p := range prints {
		data = binary.LittleEndian.AppendUint64(data, p)
	}
	return writeCache(path, data)
}
