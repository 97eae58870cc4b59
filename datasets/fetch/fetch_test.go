package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// content is what the server has: more than a connection's buffers hold.
var content = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func fileOf(data []byte) File {
	sum := sha256.Sum256(data)
	return File{Set: "set", Name: "data.bin", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// serve is a server of the content that is as bad as handle makes it. It counts
// the requests.
func serve(t *testing.T, handle http.HandlerFunc) (File, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	f := fileOf(content)
	f.URL = s.URL + "/data.bin"
	return f, &requests
}

// good serves as it should be.
func good(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// cut serves at most n bytes and then breaks the connection.
func cut(n int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		good(&cutter{w, n}, r)
	}
}

type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) Write(p []byte) (int, error) {
	n, _ := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func whole(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data)
	}
}

// chunked tells no length.
func chunked(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		w.Write(data)
	}
}

func quick() Options { return Options{pause: time.Microsecond} }

// finalIsRight makes sure that there is no file under the final name, or the
// right one.
func finalIsRight(t *testing.T, dir string, want bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "data.bin"))
	switch {
	case err == nil && !bytes.Equal(data, content):
		t.Errorf("a wrong file of %d bytes under the final name", len(data))
	case (err == nil) != want:
		t.Errorf("final file: %v, want it to be there: %t", err, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "data.bin.part")); want && err == nil {
		t.Error("the part is still there")
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
		"range of another place":   {alternating(cut(500_000), wrongRange), "from byte 500000 on was asked for", 2},
		"busy, then good":          {fails(3, http.StatusServiceUnavailable, good), "", 4},
		"too many requests":        {fails(1, http.StatusTooManyRequests, good), "", 2},
		"always broken":            {fails(100, http.StatusInternalServerError, nil), "500 Internal Server Error; 0 of 1048576 bytes are there", attempts},
		"not there":                {http.NotFound, "404 Not Found; another mirror may have the file", 1},
		"another content":          {whole(altered), "its SHA-256 is ", 1},
		"longer":                   {whole(append(bytes.Clone(content), 0)), "its size is 1048577, want 1048576", 1},
		"shorter":                  {whole(content[:1000]), "its size is 1000, want 1048576", 1},
		"longer without a length":  {chunked(append(bytes.Clone(content), 0)), "sends more than the 1048576 bytes", 1},
		"shorter without a length": {chunked(content[:1000]), "ended the connection early", 0},
		"a page that says sorry":   {whole([]byte("<html>Sorry")), "its size is 11", 1},
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
			finalIsRight(t, dir, c.want == "")
			if c.want == "" && last != f.Size {
				t.Errorf("progress ended at %d", last)
			}
			if c.want == "" { // again: nothing is asked for
				before := requests.Load()
				if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil || requests.Load() != before {
					t.Errorf("again: %v, %d requests more", err, requests.Load()-before)
				}
				finalIsRight(t, dir, true)
			}
		})
	}
}

// alternating answers the first request with the first handler and so on; the
// last goes on.
func alternating(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

func refuse(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") == "" {
		good(w, r)
		return
	}
	w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
}

func wrongRange(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Range", "bytes=77-")
	good(w, r)
}

// Each call that fails leaves what it has, and the next goes on with it.
func TestResume(t *testing.T) {
	f, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			cut(1_000_000)(w, r)
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	dir := t.TempDir()
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err == nil || !strings.Contains(err.Error(), "1000000 of 1048576 bytes are there, fetch it again to go on") {
		t.Errorf("error %v", err)
	}
	finalIsRight(t, dir, false)
	if n := partSize(dir); n != 1_000_000 {
		t.Fatalf("a part of %d bytes", n)
	}
	var asked string
	f2, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Range")
		good(w, r)
	})
	if err := Fetch(t.Context(), []File{f2}, dir, quick()); err != nil || asked != "bytes=1000000-" || requests.Load() != 1 {
		t.Errorf("error %v, range %q, %d requests", err, asked, requests.Load())
	}
	finalIsRight(t, dir, true)
}

// A part that belongs to something else costs another attempt, no more.
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
		finalIsRight(t, dir, true)
	}
}

// A damaged file is replaced once the right one is there, not before.
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
	finalIsRight(t, dir, true)
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
	finalIsRight(t, dir, false)
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
	finalIsRight(t, dir, true)
}

// fullDisk is a file on a disk with room for some bytes.
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
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room and fetch it again") || requests.Load() != 1 {
		t.Errorf("error %v, %d requests", err, requests.Load())
	}
	finalIsRight(t, dir, false)
	if n := partSize(dir); n != 777_777 {
		t.Errorf("a part of %d bytes", n)
	}
	if err := Fetch(t.Context(), []File{f}, dir, quick()); err != nil {
		t.Error(err)
	}
	finalIsRight(t, dir, true)
}

// The same on a real file system that is full.
func TestTinyFileSystem(t *testing.T) {
	dir := tinyFileSystem(t, 1<<19)
	f, _ := serve(t, good)
	if err := Fetch(t.Context(), []File{f}, dir, quick()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	finalIsRight(t, dir, false)
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

// entry is a file of an archive.
type entry struct {
	name, data string
	kind       byte
	link       string
	size       int64 // that the header claims, if not 0
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		size := max(e.size, int64(len(e.data)))
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: size, Mode: 0o777}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, size-int64(len(e.data))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUnpack(t *testing.T) {
	fine := entry{name: "in/a.bin", data: "a"}
	many := make([]entry, maxEntries+1)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("in/%d", i)}
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"good":             {archive(t, entry{name: "in/", kind: tar.TypeDir}, fine, entry{name: "./in/sub/b.bin", data: "b"}), ""},
		"absolute":         {archive(t, fine, entry{name: "/etc/passwd", data: "x"}), `"/etc/passwd" is not below in`},
		"above":            {archive(t, fine, entry{name: "in/../../x", data: "x"}), "is not below in"},
		"beside":           {archive(t, fine, entry{name: "inside", data: "x"}), "is not below in"},
		"a link":           {archive(t, entry{name: "in/l", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "in/l/x", data: "x"}), `"in/l" is neither a file nor a folder`},
		"a hard link":      {archive(t, fine, entry{name: "in/l", kind: tar.TypeLink, link: "in/a.bin"}), "neither a file nor a folder"},
		"a device":         {archive(t, entry{name: "in/l", kind: tar.TypeBlock}), "neither a file nor a folder"},
		"too large":        {archive(t, fine, entry{name: "in/b", size: 1<<20 + 1}), "would take more than the 1048576 bytes"},
		"too large in all": {archive(t, entry{name: "in/b", size: 1 << 19}, entry{name: "in/c", size: 1 << 19}, fine), "would take more than the 1048576 bytes"},
		"too many":         {archive(t, many...), "more than 1000 files"},
		"twice":            {archive(t, fine, fine), "a.bin"},
		"another folder":   {archive(t, entry{name: "out/a.bin"}), "is not below in"},
		"nothing":          {archive(t), "the archive has no folder in"},
		"cut":              {archive(t, fine)[:60], "EOF"},
		"no archive":       {[]byte("hello"), "gzip header"},
	} {
		dir := t.TempDir()
		f := fileOf(c.data)
		f.Unpack, f.Unpacked = "in", 1<<20
		if err := os.WriteFile(filepath.Join(dir, "data.bin"), c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		err := Fetch(t.Context(), []File{f}, dir, quick())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		entries, err := os.ReadDir(dir)
		if want := map[bool]int{true: 2, false: 1}[c.want == ""]; err != nil || len(entries) != want {
			t.Errorf("%s: %v is left, %v", name, entries, err)
		}
		if c.want == "" {
			if data, err := os.ReadFile(filepath.Join(dir, "in", "sub", "b.bin")); err != nil || string(data) != "b" {
				t.Errorf("%q, %v", data, err)
			}
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(archive(f, entry{name: "in/", kind: tar.TypeDir}, entry{name: "in/a", data: "a"}))
	f.Add(archive(f, entry{name: "in/l", kind: tar.TypeSymlink, link: "../.."}, entry{name: "in/l/x", data: "x"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		above := t.TempDir()
		dir := filepath.Join(above, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = extract(bytes.NewReader(data), dir, &File{Unpack: "in", Unpacked: 1 << 16})
		for folder, allowed := range map[string]string{above: "dir", dir: "in"} {
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != allowed || !e.IsDir() {
					t.Errorf("wrote %s in %s", e.Name(), folder)
				}
			}
		}
	})
}
