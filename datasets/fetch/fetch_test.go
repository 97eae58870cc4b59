package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

func quick() Options { return Options{pause: time.Microsecond} }

// checkFinal checks that the file with the final name is complete if want is true, and
// missing otherwise.
func checkFinal(t *testing.T, dir string, want bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "data.bin"))
	switch {
	case err == nil && !bytes.Equal(data, content):
		t.Errorf("a wrong file of %d bytes has the final name", len(data))
	case (err == nil) != want:
		t.Errorf("final file: %v, want it to exist: %t", err, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "data.bin.part")); want && err == nil {
		t.Error("the part still exists")
	}
}

func partSize(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, "data.bin.part"))
	if err != nil {
		return -1
	}
	return info.Size()
}

func TestFetch(t *testing.T) {
	altered := bytes.Clone(content)
	altered[12345]++
	fails := func(n int64, status int, then http.HandlerFunc) http.HandlerFunc {
		var done atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) {
			if done.Add(1) <= n {
				w.WriteHeader(status)
				return
			}
			then(w, r)
		}
	}
	for name, c := range map[string]struct {
		handle   http.HandlerFunc
		want     string // error; empty: it succeeds
		requests int64
	}{
		"good":                     {good, "", 1},
		"no length":                {chunked(content), "", 1},
		"cut again and again":      {cut(500_000), "", 3},
		"cut, ranges ignored":      {alternating(cut(500_000), whole(content)), "", 2},
		"range refused":            {alternating(cut(500_000), refuse, good), "", 3},
		"wrong range":              {alternating(cut(500_000), wrongRange), "want it from byte 500000 on", 2},
		"busy, then good":          {fails(3, http.StatusServiceUnavailable, good), "", 4},
		"too many requests":        {fails(1, http.StatusTooManyRequests, good), "", 2},
		"always broken":            {fails(100, http.StatusInternalServerError, nil), "500 Internal Server Error; 0 of 1048576 bytes are on disk", attempts},
		"missing":                  {http.NotFound, "404 Not Found; another mirror may have the file", 1},
		"another content":          {whole(altered), "its SHA-256 is ", 1},
		"longer":                   {whole(append(bytes.Clone(content), 0)), "its size is 1048577, want 1048576", 1},
		"shorter":                  {whole(content[:1000]), "its size is 1000, want 1048576", 1},
		"longer without a length":  {chunked(append(bytes.Clone(content), 0)), "sends more than the 1048576 bytes", 1},
		"shorter without a length": {chunked(content[:1000]), "ended the connection early", 0},
		"an error page":            {whole([]byte("<html>Sorry")), "its size is 11", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, requests := serve(t, c.handle)
			dir := filepath.Join(t.TempDir(), "new", "folder")
			var last int64
			o := quick()
			o.Progress = func(_ *File, n int64) { last = n }
			err := Fetch(t.Context(), []File{f}, dir, o)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "data.bin: ")) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if n := requests.Load(); c.requests > 0 && n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			checkFinal(t, dir, c.want == "")
			if c.want == "" && last != f.Size {
				t.Errorf("progress ended at %d", last)
			}
			if c.want == "" { // again: without requests
				before := requests.Load()
				if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil || requests.Load() != before {
					t.Errorf("again: %v, %d requests more", err, requests.Load()-before)
				}
				checkFinal(t, dir, true)
			}
		})
	}
}

// A call that fails keeps its part, and the next call continues it.
func TestResume(t *testing.T) {
	f, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			cut(1_000_000)(w, r)
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	dir := t.TempDir()
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err == nil || !strings.Contains(err.Error(), "1000000 of 1048576 bytes are on disk, fetch it again to continue") {
		t.Errorf("error %v", err)
	}
	checkFinal(t, dir, false)
	if n := partSize(dir); n != 1_000_000 {
		t.Fatalf("a part of %d bytes", n)
	}
	var requested string
	f2, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requested = r.Header.Get("Range")
		good(w, r)
	})
	if err := Fetch(t.Context(), []File{f2}, dir, quick()); err != nil || requested != "bytes=1000000-" || requests.Load() != 1 {
		t.Errorf("error %v, range %q, %d requests", err, requested, requests.Load())
	}
	checkFinal(t, dir, true)
}

// A part with other content costs only one more attempt.
func TestWrongPart(t *testing.T) {
	for name, part := range map[string][]byte{
		"other bytes": bytes.Repeat([]byte("x"), 1000),
		"too long":    make([]byte, len(content)+1),
		"all of it":   content,
		"other, full": make([]byte, len(content)),
	} {
		f, _ := serve(t, good)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "data.bin.part"), part, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkFinal(t, dir, true)
	}
}

// A damaged file is replaced only once the right one is complete.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	damaged := bytes.Clone(content)
	damaged[1]++
	path := filepath.Join(dir, "data.bin")
	if err := os.WriteFile(path, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	f, _ := serve(t, http.NotFound)
	if err := Verify(t.Context(), &f, dir); !errors.As(err, new(*Mismatch)) {
		t.Errorf("verified: %v", err)
	}
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err == nil {
		t.Error("no error")
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, damaged) {
		t.Errorf("the damaged file was touched: %v", err)
	}
	f, _ = serve(t, good)
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil {
		t.Error(err)
	}
	checkFinal(t, dir, true)
	if err := Verify(t.Context(), &f, dir); err != nil {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	f, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:1_000_000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	o := quick()
	o.Progress = func(_ *File, n int64) {
		if n == 1_000_000 {
			cancel()
		}
	}
	dir := t.TempDir()
	if err := Fetch(ctx, []File{f}, dir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	checkFinal(t, dir, false)
	if n := partSize(dir); n != 1_000_000 {
		t.Errorf("a part of %d bytes", n)
	}
}

func TestStalled(t *testing.T) {
	f, _ := serve(t, alternating(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, good))
	o := quick()
	o.stall = 50 * time.Millisecond
	dir := t.TempDir()
	if err := Fetch(t.Context(), []File{f}, dir, o); err != nil {
		t.Error(err)
	}
	checkFinal(t, dir, true)
}

// fullDisk is a file on a disk with room for a few bytes.
type fullDisk struct {
	*os.File
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n, err := d.File.Write(p[:min(len(p), d.room)])
	if d.room -= n; err == nil && n < len(p) {
		err = &fs.PathError{Op: "write", Path: d.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func TestDiskFull(t *testing.T) {
	f, requests := serve(t, good)
	dir := t.TempDir()
	o := quick()
	o.create = func(path string) (partialFile, error) {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		return &fullDisk{file, 777_777}, err
	}
	err := Fetch(t.Context(), []File{f}, dir, o)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space and fetch it again") || requests.Load() != 1 {
		t.Errorf("error %v, %d requests", err, requests.Load())
	}
	checkFinal(t, dir, false)
	if n := partSize(dir); n != 777_777 {
		t.Errorf("a part of %d bytes", n)
	}
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil {
		t.Error(err)
	}
	checkFinal(t, dir, true)
}

// The same on a real file system that is full.
func TestTinyFileSystem(t *testing.T) {
	dir := tinyFileSystem(t, 1<<19)
	f, _ := serve(t, good)
	if err := Fetch(t.Context(), []File{f}, dir, quick()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	checkFinal(t, dir, false)
}

func TestTwoProcesses(t *testing.T) {
	f, requests := serve(t, good)
	dir := t.TempDir()
	other := flock.New(filepath.Join(dir, "data.bin.part"), flock.SetPermissions(0o644))
	if ok, err := other.TryLock(); !ok || err != nil {
		t.Fatal(err)
	}
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err == nil || !strings.Contains(err.Error(), "another process is fetching it") || requests.Load() != 0 {
		t.Errorf("error %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "data.bin")); err != nil || info.Mode().Perm()&0o044 == 0 {
		t.Errorf("%v, %v: others cannot read it", info, err)
	}
}

func TestMirror(t *testing.T) {
	var path string
	f, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { path = r.URL.Path; good(w, r) })
	mirror := strings.TrimSuffix(f.URL, "data.bin") + "mirror/"
	f.URL = "http://nowhere.invalid/data.bin"
	o := quick()
	o.Mirror = mirror
	if err := Fetch(t.Context(), []File{f}, t.TempDir(), o); err != nil || path != "/mirror/set/data.bin" {
		t.Errorf("%q, %v", path, err)
	}
}

func TestKnownFiles(t *testing.T) {
	for set, n := range map[string]int{"cifar-10": 1, "cifar-100": 1, "fashion-mnist": 4} {
		files, err := Files(set)
		if err != nil || len(files) != n {
			t.Errorf("%s: %d files, %v", set, len(files), err)
		}
		for _, f := range files {
			if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size || f.Size == 0 || !strings.HasSuffix(f.URL, "/"+f.Name) {
				t.Errorf("%+v", f)
			}
		}
	}
	if _, err := Files("imagenet-1k"); err == nil || !strings.Contains(err.Error(), "those that can are cifar-10, cifar-100, fashion-mnist") {
		t.Errorf("error %v", err)
	}
}
