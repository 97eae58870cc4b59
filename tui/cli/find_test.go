package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindRun checks that the folder of a run, and so its locks, its queue entry and its id,
// do not depend on how the run is named.
func TestFindRun(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "exp [v1] *?\\")
	for _, run := range []string{filepath.Join(root, "one-a"), filepath.Join(root, "one-b"), filepath.Join(root, "two"), filepath.Join(root, ".hidden"), filepath.Join(dir, "far", "three"), filepath.Join(dir, "far", "four")} {
		if err := os.MkdirAll(run, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(run, "config.toml"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		filepath.Join(root, "latest"): "one-b", filepath.Join(dir, "link"): filepath.Join(root, "two"),
		filepath.Join(root, "three"): filepath.Join(dir, "far", "three"), filepath.Join(root, "4"): filepath.Join(dir, "far", "four"),
		filepath.Join(dir, "roots"): root,
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "two", "stages"), 0o755); err != nil {
		t.Fatal(err)
	}
	relative := filepath.Base(root)
	t.Setenv("HOME", dir)
	for _, c := range []struct {
		from, root, name string
		want             string // under dir; empty: an error
	}{
		{".", relative, "two", "exp/two"},
		{".", relative, "tw", "exp/two"},
		{".", relative, "one-a", "exp/one-a"},
		{".", relative, "one", ""},
		{".", relative, "one*", ""},
		{".", relative, "", ""},
		{".", relative, ".h", ""},
		{".", relative, "nothing", ""},
		{".", relative, relative + "/two", "exp/two"},
		{".", relative, relative + "/two/", "exp/two"},
		{".", relative, "./" + relative + "//two/./", "exp/two"},
		{".", root, root + "/two/", "exp/two"},
		{".", relative, root + "/two/stages/..", "exp/two"},
		{".", relative, "~/" + relative + "/two", "exp/two"},
		{"exp/two", root, ".", "exp/two"},
		{"exp/two", "..", ".", "exp/two"},
		{"exp/two/stages", root, "..", "exp/two"},
		{"exp", ".", "two", "exp/two"},
		{".", relative, "link", "exp/two"},
		{".", relative, "link/", "exp/two"},
		{".", relative, "latest", "exp/one-b"},
		{".", relative, "three", "exp/three"}, // which lies elsewhere, and is found here
		{".", relative, "far/three", "exp/three"},
		{".", relative, "4", "far/four"},
		{".", "nowhere", "far/four", "far/four"},
		{".", "nowhere", "four", ""},
		{".", "roots", "two", "roots/two"},
		{".", "roots", relative + "/two", "roots/two"},
	} {
		expand := func(path string) string {
			if rest, ok := strings.CutPrefix(path, "exp"); ok {
				return root + rest
			}
			return filepath.Join(dir, path)
		}
		t.Chdir(expand(c.from))
		a := &App{Root: c.root}
		got, err := a.findRun(c.name)
		switch {
		case c.want == "" && !errors.As(err, new(badInput)):
			t.Errorf("from %s, %q: %q, %v, want an error", c.from, c.name, got, err)
		case c.want != "" && (err != nil || got != expand(c.want)):
			t.Errorf("from %s, %q: %q, %v, want %q", c.from, c.name, got, err, expand(c.want))
		}
	}
}
