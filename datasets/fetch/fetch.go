// Package fetch downloads the files of data sets from their makers' servers.
//
// A file gets its final name only once it is complete on disk, with the right size and
// checksum; until then it is NAME.part, which the next call continues. A proxy is taken
// from the environment (HTTPS_PROXY, NO_PROXY).
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// Options configure fetching. The zero value fetches from the makers' servers.
type Options struct {
	// Mirror is the URL of a folder with the files, MIRROR/SET/FILE, to be used
	// instead of the makers' servers. Sizes and checksums must be the same.
	Mirror string

	// Progress, if not nil, is called often with the number of bytes of a file on
	// disk, by the goroutine that fetches.
	Progress func(f *File, bytes int64)

	client *http.Client
	pause  time.Duration                          // after a failure, doubled each time; 0 means a second
	stall  time.Duration                          // time without a byte until a connection is closed; 0 means a minute
	create func(path string) (partialFile, error) // nil means os.OpenFile
}

// partialFile is a file that is being downloaded.
type partialFile interface {
	io.ReadWriteSeeker
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// Fetch downloads files into a folder and unpacks archives there. It skips files that
// are already complete. It stops when ctx is done; another call continues.
func Fetch(ctx context.Context, files []File, dir string, o Options) error {
	if o.client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone() // proxy from the environment
		transport.DisableCompression = true                          // the checksum is that of the file as it is
		defer transport.CloseIdleConnections()
		o.client = &http.Client{Transport: transport}
	}
	if o.pause == 0 {
		o.pause = time.Second
	}
	if o.stall == 0 {
		o.stall = time.Minute
	}
	if o.create == nil {
		o.create = func(path string) (partialFile, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644) }
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range files {
		if err := fetchOne(ctx, &files[i], dir, &o); err != nil {
			return fmt.Errorf("%s: %w", files[i].Name, err)
		}
	}
	for i := range files {
		if err := unpack(ctx, &files[i], dir); err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Join(dir, files[i].Name), err)
		}
	}
	return nil
}

func fetchOne(ctx context.Context, f *File, dir string, o *Options) error {
	final := filepath.Join(dir, f.Name)
	part := final + ".part"
	lock := flock.New(part, flock.SetPermissions(0o644))
	if locked, err := lock.TryLock(); err != nil {
		return err
	} else if !locked {
		return fmt.Errorf("another process is fetching it: %s", part)
	}
	defer lock.Close()
	defer removeEmpty(part) // the lock creates it
	switch err := Verify(ctx, f, dir); {
	case err == nil:
		o.progress(f, f.Size)
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*Mismatch)):
		return err
	}
	d := &download{File: f, Options: o, url: f.address(o.Mirror), path: part}
	resumed, err := d.get(ctx)
	if resumed && errors.As(err, new(*Mismatch)) {
		// The part may be an old one, or from another mirror.
		_, err = d.get(ctx)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(part, final); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeEmpty removes a part without content.
func removeEmpty(part string) {
	if info, err := os.Stat(part); err == nil && info.Size() == 0 {
		os.Remove(part)
	}
}

func (o *Options) progress(f *File, bytes int64) {
	if o.Progress != nil {
		o.Progress(f, bytes)
	}
}

// Mismatch is the error for a file that differs from the one that its maker published.
type Mismatch struct{ What, Got, Want string }

func (e *Mismatch) Error() string { return fmt.Sprintf("its %s is %s, want %s", e.What, e.Got, e.Want) }

// Verify checks the size and the checksum of a file in a folder. Errors other than
// [Mismatch] are those of reading it.
func Verify(ctx context.Context, f *File, dir string) error {
	file, err := os.Open(filepath.Join(dir, f.Name))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return &Mismatch{"size", fmt.Sprint(info.Size()), fmt.Sprint(f.Size)}
	}
	return f.verify(ctx, file)
}

// verify checks the checksum of the content of r.
func (f *File) verify(ctx context.Context, r io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, cancellable{ctx, r}); err != nil {
		return err
	}
	return f.compare(sum)
}

func (f *File) compare(sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return &Mismatch{"SHA-256", got, f.SHA256}
	}
	return nil
}

// cancellable fails once its context is done.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// syncDir syncs a folder, so that a rename in it survives a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
