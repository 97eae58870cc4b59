package study

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/runs"
)

// A study is read back as it was stored, and its results can be read, or the error names its
// file.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"id":"s","created":"2026-01-31T14:23:01Z","definition":{"Name":"k","Title":"t","Paper":[{"Series":"a","Value":1}],"Grid":{}},"options":{"scale":0.5},"cells":[{"name":"a","series":"a","at":3,"method":"e2e","run":"r"}]}`))
	f.Add([]byte(`{"id":"s","cells":[{"name":"../../x","run":"../.."}]}`))
	f.Add([]byte(`{"id":"other","definition":{}}`))
	f.Add([]byte("null"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		path := filepath.Join(root, runs.StudiesDir, "s", studyFile)
		put := func(data []byte) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(data)
		s, err := Open(root, "s")
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		// No cell has started.
		results := s.Results(t.Context())
		if len(results) != len(s.Cells) {
			t.Errorf("%d results of %d cells", len(results), len(s.Cells))
		}
		for _, r := range results {
			if r.Err == nil && (r.Phase != runs.Waiting || r.Values != nil) {
				t.Errorf("a cell that has not begun: %+v", r)
			}
		}
		s.Options.Differences()
		kept, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		put(kept)
		again, err := Open(root, "s")
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(kept) {
			t.Errorf("%s became %s, %v", kept, twice, err)
		}
	})
}
