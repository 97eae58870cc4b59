package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// FuzzScan checks that a run with arbitrary files is listed, with an error if it cannot be
// read, and does not affect the run next to it.
func FuzzScan(f *testing.F) {
	c, err := presets.Load("quickstart", nil)
	if err != nil {
		f.Fatal(err)
	}
	status := []byte(`{"phase":"done","stage":"meta","pid":1,"host":"h","started":"2026-01-31T14:23:01Z","heartbeat":"2026-01-31T14:23:06Z"}`)
	events := []byte(`{"time":"2026-01-31T14:23:01Z","kind":"eval","stage":"meta","epoch":1,"values":{"top1":50}}` + "\n" + `{"kind":"result","method":"e2e","values":{"top1":"NaN"}}` + "\n")
	f.Add(c.TOML(), status, events)
	f.Add([]byte("title = 3"), []byte("null"), []byte("null\n{}\n"))
	f.Add([]byte{}, []byte("\x00"), []byte(`{"kind":"eval","stage":"a","epoch":-9223372036854775808,"values":null}`))
	f.Fuzz(func(t *testing.T, config, state, journal []byte) {
		root := t.TempDir()
		for name, files := range map[string][3][]byte{"good": {c.TOML(), status, events}, "other": {config, state, journal}} {
			dir := filepath.Join(root, name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for i, file := range []string{"config.toml", "status.json", "events.jsonl"} {
				if err := os.WriteFile(filepath.Join(dir, file), files[i], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		scanner := Scanner{Root: root}
		for range 2 { // the second time from the cache
			all, err := scanner.Scan(t.Context(), time.Now())
			if err != nil || len(all) != 2 {
				t.Fatalf("%d runs, %v", len(all), err)
			}
			for _, e := range all {
				e.Top1()
				_ = e.Live.String()
				if e.ID == "good" && (e.Err != nil || e.Stage != "meta" || e.Last[runs.Top1] != 50) {
					t.Errorf("the other run became %+v", e)
				}
				if e.Err == nil && e.Config == nil || e.Err != nil && !strings.Contains(e.Err.Error(), e.Dir) {
					t.Errorf("%s: %v", e.Dir, e.Err)
				}
			}
		}
	})
}
