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

// corrupt decodes all pictures and returns the errors of those that cannot be,
// by index. What was good before, and has not been written since, is not
// decoded again: a file of the user's cache remembers it.
func (s *folderStore) corrupt(ctx context.Context) (map[int]error, error) {
	cache := indexPath(s.root, "decoded")
	known := readFingerprints(cache)
	var mu sync.Mutex // guards bad and good
	bad := map[int]error{}
	var good []uint64
	fresh := 0

	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	const chunk = 256
	for from := 0; from < s.count(); from += chunk {
		work.Go(func() error {
			var p picture.Picture
			var fine []uint64
			news := 0
			for i := from; i < min(from+chunk, s.count()); i++ {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				print, err := fileFingerprint(s.path(i))
				if err != nil {
					return err
				}
				if _, ok := slices.BinarySearch(known, print); ok {
					fine = append(fine, print)
					continue
				}
				news++
				switch err := s.Load(i, &p, 0); {
				case err == nil:
					fine = append(fine, print)
				case unreadable(err): // no word about the picture
					return err
				default:
					mu.Lock()
					bad[i] = err
					mu.Unlock()
				}
			}
			mu.Lock()
			good = append(good, fine...)
			fresh += news
			mu.Unlock()
			return nil
		})
	}
	err := work.Wait()
	if cache != "" && fresh > 0 {
		// What an interrupted search has found out counts as well. Without the
		// file the next search takes as long as this one, that is all.
		_ = writeFingerprints(cache, append(good, known...))
	}
	return bad, err
}

// unreadable tells failures of the file system, which are not to be skipped,
// from what is wrong with a picture.
func unreadable(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// fileFingerprint changes when a file is written. That of a file written just
// now is of this moment only: another change could have the same time.
func fileFingerprint(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if now := time.Now(); now.Sub(info.ModTime()) < settling {
		return fingerprint(fmt.Sprintf("%s\x00%v", path, now)), nil
	}
	return fingerprint(fmt.Sprintf("%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano())), nil
}

func fingerprint(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.LittleEndian.Uint64(sum[:])
}

// readFingerprints reads a sorted list, empty if there is none that is whole.
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
	return writeWhole(path, data)
}
