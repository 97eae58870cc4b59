package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchData checks that files from a mirror are accepted only with the right size and
// checksum.
func TestFetchData(t *testing.T) {
	page := []byte("<html>not found, status 200</html>")
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"a page for everything": {func(w http.ResponseWriter, r *http.Request) { w.Write(page) }, "its size is 34, want 26421880"},
		"nothing":               {http.NotFound, "404 Not Found"},
		"zeros of the right size": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "26421880")
			for range 26421880 / 40 {
				w.Write(make([]byte, 40))
			}
		}, "its SHA-256 is "},
	} {
		var path string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			c.handle(w, r)
		}))
		var out, errs bytes.Buffer
		app := &App{Out: &out, Err: &errs}
		dir := filepath.Join(t.TempDir(), "data")
		err := (&DataFetch{DataArg: DataArg{"fashion-mnist"}, To: dir, Mirror: s.URL}).Run(t.Context(), app)
		s.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) || ExitCode(err) != ExitFailed || path != "/fashion-mnist/train-images-idx3-ubyte.gz" {
			t.Errorf("%s: %v, code %d, asked for %s", name, err, ExitCode(err), path)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: %v is left, %v", name, entries, err)
		}
		if out.Len()+errs.Len() > 0 {
			t.Errorf("%s: printed %s%s", name, &out, &errs)
		}
	}
}

// TestFetchDataInterrupted checks that Ctrl-C keeps the downloaded part and exits with
// ExitInterrupted.
func TestFetchDataInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(26421880))
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	app := &App{Out: &out, Err: &errs}
	dir := t.TempDir()
	err := (&DataFetch{DataArg: DataArg{"fashion-mnist"}, To: dir, Mirror: s.URL}).Run(ctx, app)
	if ExitCode(err) != ExitInterrupted || !strings.Contains(errs.String(), "run the same command to continue the download") {
		t.Errorf("%v, %s", err, &errs)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".part") {
			t.Errorf("%s is left", e.Name())
		}
	}
}
