package datasets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hatchery/engine/atomicfile"
)

// listing lists the pictures below a folder, class by class. Each class is a folder in
// it, whose pictures may be in subfolders of any depth. They are in the order of
// torchvision's ImageFolder: by folder, then by name.
type listing struct {
	root    string
	classes []string // sorted
	dirs    []listedDir
}

// listedDir is a folder with the names of the pictures in it.
type listedDir struct {
	path  string // relative to the root, with slashes; "" is the root itself, which has no pictures
	mtime int64  // nanoseconds; changes whenever a name is added or removed
	names []string
}

// count returns the number of pictures.
func (l *listing) count() int {
	n := 0
	for i := range l.dirs {
		n += len(l.dirs[i].names)
	}
	return n
}

// class returns the index of the class of a folder, or -1 for the root.
func (l *listing) class(d *listedDir) int {
	top, _, _ := strings.Cut(d.path, "/")
	i, ok := slices.BinarySearch(l.classes, top)
	if !ok {
		return -1
	}
	return i
}

// supported are the extensions of the files that are read. The unsupported ones are those
// of other files that torchvision reads as pictures: they are an error, not ignored.
var (
	supported   = []string{".jpg", ".jpeg", ".png"}
	unsupported = []string{".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
)

// list lists the pictures below a folder: from an index that was written earlier if no
// folder has changed since, otherwise by reading all folders.
func list(ctx context.Context, root string) (*listing, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	index := indexPath(root, "index")
	if l := readIndex(ctx, root, index); l != nil {
		return l, nil
	}
	start := time.Now()
	l, err := scan(ctx, root)
	if err != nil {
		return nil, err
	}
	if index != "" && l.settled(start) {
		// If writing fails, the next call only takes longer.
		_ = writeCache(index, l.encode())
	}
	return l, nil
}

// scan reads all folders, several at a time.
func scan(ctx context.Context, root string) (*listing, error) {
	l := &listing{root: root}
	var mu sync.Mutex
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4 * runtime.GOMAXPROCS(0)) // it waits more than it computes
	var walk func(path string, above []fs.FileInfo) error
	walk = func(path string, above []fs.FileInfo) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		// First the time, then the names: the next call sees a change in between.
		dir := filepath.Join(root, filepath.FromSlash(path))
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		for _, a := range above {
			if os.SameFile(a, info) {
				return fmt.Errorf("%s: link to a folder that contains it", dir)
			}
		}
		above = append(slices.Clip(above), info)
		d := listedDir{path: path, mtime: info.ModTime().UnixNano()}
		var subfolders []string
		if d.names, subfolders, err = readDir(dir, path == ""); err != nil {
			return err
		}
		mu.Lock()
		l.dirs = append(l.dirs, d)
		if path == "" {
			l.classes = subfolders
		}
		mu.Unlock()
		for _, name := range subfolders {
			sub := name
			if path != "" {
				sub = path + "/" + name
			}
			// In this goroutine if the limit is reached.
			if !work.TryGo(func() error { return walk(sub, above) }) {
				if err := walk(sub, above); err != nil {
					return err
				}
			}
		}
		return nil
	}
	work.Go(func() error { return walk("", nil) })
	if err := work.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.dirs, func(a, b listedDir) int {
		// By path alone "a-b" would come between "a" and "a/c".
		return cmp.Or(l.class(&a)-l.class(&b), strings.Compare(a.path, b.path))
	})
	return l, nil
}

// readDir returns the pictures and the subfolders of a folder, both sorted. At the top,
// it ignores files, since they do not belong to a class.
func readDir(dir string, top bool) (names, subfolders []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") { // of file managers and file systems
			continue
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				return nil, nil, fmt.Errorf("following the link: %w", err)
			}
			mode = info.Mode()
		}
		if mode.IsDir() {
			subfolders = append(subfolders, name)
			continue
		}
		switch ext := strings.ToLower(filepath.Ext(name)); {
		case top: // such as notes and lists
		case slices.Contains(supported, ext):
			names = append(names, name)
		case slices.Contains(unsupported, ext):
			return nil, nil, fmt.Errorf("%s: pictures of this kind cannot be read: convert them to JPEG or PNG", filepath.Join(dir, name))
		}
	}
	return names, subfolders, nil
}

// mtimeStep is longer than the resolution of modification times, up to two seconds: a
// change that is older differs in time from a later one.
const mtimeStep = 3 * time.Second

// settled reports whether all folders were last changed well before the scan began at
// start.
func (l *listing) settled(start time.Time) bool {
	limit := start.Add(-mtimeStep).UnixNano()
	return !slices.ContainsFunc(l.dirs, func(d listedDir) bool { return d.mtime > limit })
}

// An index is a line with the checksum of the rest, then fields that each end with a zero
// byte, which no name can contain: the root, then for each folder its path, its time, the
// number of pictures and their names.
const indexMagic = "hatchery index 1 "

func (l *listing) encode() []byte {
	var b []byte
	b = append(append(b, l.root...), 0)
	for _, d := range l.dirs {
		b = append(append(b, d.path...), 0)
		b = append(strconv.AppendInt(b, d.mtime, 10), 0)
		b = append(strconv.AppendInt(b, int64(len(d.names)), 10), 0)
		for _, name := range d.names {
			b = append(append(b, name...), 0)
		}
	}
	head := fmt.Sprintf("%s%08x\n", indexMagic, crc32.ChecksumIEEE(b))
	return append([]byte(head), b...)
}

// decodeIndex parses the output of encode. It returns nil for anything else.
func decodeIndex(data string) *listing {
	head, rest, _ := strings.Cut(data, "\n")
	if head != fmt.Sprintf("%s%08x", indexMagic, crc32.ChecksumIEEE([]byte(rest))) {
		return nil
	}
	ok := true
	field := func() string {
		var f string
		f, rest, ok = strings.Cut(rest, "\x00")
		return f
	}
	l := &listing{root: field()}
	for ok && rest != "" {
		d := listedDir{path: field()}
		mtime, err1 := strconv.ParseInt(field(), 10, 64)
		n, err2 := strconv.Atoi(field())
		if err1 != nil || err2 != nil || n < 0 || n > len(rest) {
			return nil
		}
		d.mtime = mtime
		if n > 0 {
			d.names = make([]string, n)
		}
		for i := range d.names {
			d.names[i] = field()
		}
		if d.path != "" && !strings.Contains(d.path, "/") {
			l.classes = append(l.classes, d.path)
		}
		l.dirs = append(l.dirs, d)
	}
	if !ok {
		return nil
	}
	slices.Sort(l.classes)
	return l
}

// readIndex reads an index. It returns nil if the index is missing or out of date.
func readIndex(ctx context.Context, root, path string) *listing {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	l := decodeIndex(string(data))
	if l == nil || l.root != root || len(l.dirs) == 0 {
		return nil
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4 * runtime.GOMAXPROCS(0))
	changed := errors.New("changed")
	for part := range slices.Chunk(l.dirs, 64) {
		work.Go(func() error {
			for _, d := range part {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				info, err := os.Stat(filepath.Join(root, filepath.FromSlash(d.path)))
				if err != nil || !info.IsDir() || info.ModTime().UnixNano() != d.mtime {
					return changed
				}
			}
			return nil
		})
	}
	if work.Wait() != nil {
		return nil
	}
	return l
}

// indexPath returns the path of the cache file of a kind for a folder, or "" if the user
// has no cache folder.
func indexPath(root, kind string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "hatchery", "folders", fmt.Sprintf("%016x.%s", fingerprint(root), kind))
}

// writeCache writes a cache file atomically.
func writeCache(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o644)
}
