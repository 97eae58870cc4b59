// Package fetch gets the files of data sets from where their makers host them.
//
// A file has its final name only once all of it is on the disk with the right
// size and checksum; until then it is NAME.part, which the next call goes on
// with. A proxy is taken from the environment (HTTPS_PROXY, NO_PROXY).
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

// Options say how files are fetched. The zero value fetches from their makers.
type Options struct {
	// Mirror is the address of a folder that has the files in place of their
	// makers, MIRROR/SET/FILE. Sizes and checksums hold all the same.
	Mirror string

	// Progress, if there is one, is told how many bytes of a file are there.
	// It is called by the goroutine that fetches, often.
	Progress func(f *File, bytes int64)

	client *http.Client
	pause  time.Duration                          // after a failure, doubled each time; 0: a second
	stall  time.Duration                          // without a byte before a connection is given up; 0: a minute
	create func(path string) (partialFile, error) // nil: a file of the system
}

// partialFile is a file that is being fetched.
type partialFile interface {
	io.ReadWriteSeeker
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// Fetch gets those of the files that are not in the folder yet, and unpacks
// archives beside themselves. What is there already, whole and right, is left
// alone. When ctx ends it stops; another call goes on.
func Fetch(ctx context.Context, files []File, dir string, o Options) error {
	if o.client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone() // proxy from the environment
		transport.DisableCompression = true                          // the bytes are wanted as they are
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
	defer removeEmpty(part) // which the lock made
	switch err := Verify(ctx, f, dir); {
	case err == nil:
		o.progress(f, f.Size)
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*Mismatch)):
		return err
	}
	p := &partial{File: f, Options: o, url: f.address(o.Mirror), path: part}
	resumed, err := p.get(ctx)
	if resumed && errors.As(err, new(*Mismatch)) {
		// The part may be of an earlier time, or of another mirror.
		_, err = p.get(ctx)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(part, final); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeEmpty removes a part that has nothing to go on with.
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

// Mismatch is a file that is not what its maker published.
type Mismatch struct{ What, Got, Want string }

func (e *Mismatch) Error() string { return fmt.Sprintf("its %s is %s, want %s", e.What, e.Got, e.Want) }

// Verify checks size and checksum of a file in a folder. Other errors than a
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

// verify checks the checksum of what r has.
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

// syncDir makes a rename in a folder last through a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
