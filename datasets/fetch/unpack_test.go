package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entry is a file of an archive.
type entry struct {
	name, data string
	kind       byte
	link       string
	size       int64 // in the header, if not 0
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
