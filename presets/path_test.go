package presets

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A path is the same wherever its configuration is read: one in a file is relative to
// that file, one in a flag to the working directory.
func TestPathsAreAbsolute(t *testing.T) {
	dir := write(t, map[string]string{
		"a.toml":     "extends = \"quickstart\"\n[data]\nroot = \"pictures\"\npartition = true\n[launch]\nparts = \"../parts\"\n",
		"sub/b.toml": "extends = \"../a.toml\"\n",
		"sub/c.toml": "extends = \"../a.toml\"\n[data]\nroot = \"own\"\n",
		"work/x":     "",
	})
	t.Chdir(filepath.Join(dir, "work"))
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DIR", "/elsewhere")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, c := range []struct {
		what, ref   string
		sets        []string
		root, parts string
	}{
		{"of a file", in("a.toml"), nil, in("pictures"), filepath.Join(filepath.Dir(dir), "parts")},
		{"of a file named by a relative path", "../a.toml", nil, in("pictures"), filepath.Join(filepath.Dir(dir), "parts")},
		{"of the parent", in("sub", "b.toml"), nil, in("pictures"), filepath.Join(filepath.Dir(dir), "parts")},
		{"of the child", in("sub", "c.toml"), nil, in("sub", "own"), filepath.Join(filepath.Dir(dir), "parts")},
		{"of a flag", in("a.toml"), []string{"data.root=d"}, in("work", "d"), filepath.Join(filepath.Dir(dir), "parts")},
		{"of a preset that is part of the program", "quickstart", []string{"data.root=../d/", "launch.parts=."}, in("d"), in("work")},
		{"home", "quickstart", []string{"data.root=~/d", `launch.parts="~"`}, filepath.Join(home, "d"), home},
		{"home of a user", "quickstart", []string{"data.root=~" + me.Username + "/d"}, filepath.Join(me.HomeDir, "d"), ""},
		{"a tilde of a name", "quickstart", []string{"data.root=./~d", "launch.parts=a~"}, in("work", "~d"), in("work", "a~")},
		{"variables are not expanded", "quickstart", []string{"data.root=$DIR/d"}, in("work", "$DIR", "d"), ""},
		{"absolute", "quickstart", []string{"data.root=/d", "launch.parts=/p"}, "/d", "/p"},
		{"none", "quickstart", nil, "", ""},
	} {
		got := mustLoad(t, c.ref, c.sets...)
		if got.Data.Root != c.root || got.Launch.Parts != c.parts {
			t.Errorf("%s: %q and %q, want %q and %q", c.what, got.Data.Root, got.Launch.Parts, c.root, c.parts)
		}
		if w := got.Warnings(); w != nil {
			t.Errorf("%s: %q", c.what, w)
		}
		if again := reload(t, got); !same(got, again) {
			t.Errorf("%s: comes back as %q and %q", c.what, again.Data.Root, again.Launch.Parts)
		}
	}

	const unknown = `--set data.root=~nobody-has-this/d: data.root = "~nobody-has-this/d": cannot expand ~nobody-has-this: `
	if _, err := Load("quickstart", []string{"data.root=~nobody-has-this/d"}); err == nil || !strings.HasPrefix(err.Error(), unknown) {
		t.Errorf("an unknown user: %v", err)
	}
	if c := mustLoad(t, "../a.toml"); c.Name != "a" {
		t.Errorf("called %q", c.Name)
	}
	if err := os.WriteFile(filepath.Join(home, "mine.toml"), []byte("extends = \"quickstart\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := mustLoad(t, "~/mine.toml"); c.Name != "mine" {
		t.Errorf("called %q", c.Name)
	}
}

// A folder whose name is not valid in TOML must not lead to a configuration that cannot
// be read.
func TestPathThatIsNotUTF8(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gr\xf6\xdfe")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("this file system takes names in UTF-8 only")
	}
	t.Chdir(dir)
	if _, err := Load("quickstart", []string{"data.root=d"}); err == nil || !strings.Contains(err.Error(), "is not UTF-8") {
		t.Errorf("%v", err)
	}
}

// Every key whose help in the workbench has the unit "folder" is a path (see the test of
// package pages).
func TestWhichKeysArePaths(t *testing.T) {
	var got []string
	for _, f := range settings {
		if IsPath(f.Key) {
			got = append(got, f.Key)
		}
		if f.Path && f.typ.Kind().String() != "string" {
			t.Errorf("%s is a %v, and marked as a path", f.Key, f.typ)
		}
	}
	if want := []string{"data.root", "launch.parts"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if IsPath("data.name") || IsPath("") || IsPath("data") {
		t.Error("no paths")
	}
}

// Configurations of runs that earlier versions began contain paths as they were typed.
func TestRelativePathsOfOldRuns(t *testing.T) {
	config := strings.Replace(string(mustLoad(t, "quickstart", "data.root=/d").TOML()), `root = "/d"`, `root = "d"`, 1)
	for what, path := range map[string]string{"a run": "project/runs/x/config.toml", "a cell": "project/runs/studies/s/cells/a.toml"} {
		dir := write(t, map[string]string{
			path: config, "project/runs/x/events.jsonl": "", "project/runs/studies/s/study.json": "{}",
			"project/d/x": "", "work/x": "", "other/d/x": "",
		})
		for _, c := range []struct{ from, want string }{
			{"project", "project/d"}, // where the run was begun
			{"work", "project/d"},    // where there is no such folder
			{"other", "other/d"},     // the working directory has one
		} {
			t.Chdir(filepath.Join(dir, c.from))
			got := mustLoad(t, filepath.Join(dir, path))
			want := filepath.Join(dir, c.want)
			if got.Data.Root != want {
				t.Errorf("%s, from %s: %s, want %s", what, c.from, got.Data.Root, want)
			}
			if w := got.Warnings(); len(w) != 1 || !strings.Contains(w[0], path) || !strings.Contains(w[0], `data.root: "d" is relative`) || !strings.Contains(w[0], want) {
				t.Errorf("%s, from %s: warnings %q", what, c.from, w)
			}
		}
	}
	// A config.toml that a user wrote does not belong to a run.
	dir := write(t, map[string]string{"x/config.toml": config})
	if got := mustLoad(t, filepath.Join(dir, "x", "config.toml")); got.Data.Root != filepath.Join(dir, "x", "d") || got.Warnings() != nil {
		t.Errorf("%s, %q", got.Data.Root, got.Warnings())
	}
}

func TestPathsOfStudies(t *testing.T) {
	dir := write(t, map[string]string{
		"work/x":      "",
		"s/base.toml": "extends = \"quickstart\"\n",
		"s/study.toml": `
			title  = "paths"
			preset = "base.toml"
			set    = ["data.root=grid"]
			[[series]]
			name   = "a"
			method = "e2e"
			[[series]]
			name   = "b"
			method = "e2e"
			set    = ["data.root = 'series'"]
			[[series]]
			name   = "c"
			method = "e2e"
			key    = "data.root"
			values = ["one", "/two"]
			at     = [1, 2]
			[[series]]
			name   = "d"
			method = "e2e"
			[[series.point]]
			label  = "p"
			set    = ["seed=1", "data.root=~/point"]`,
	})
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(filepath.Join(dir, "work"))
	s, err := LoadStudy("../s/study.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range s.Cells([]string{"run.equal=epochs"}) {
		config, err := Load(c.Preset, c.Set)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.ID()+" "+config.Data.Root)
	}
	want := []string{"a " + dir + "/s/grid", "b " + dir + "/s/series", "c-1 " + dir + "/s/one", "c-2 /two", "d-p " + home + "/point"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	for _, c := range s.Cells([]string{"data.root=flag"})[:1] { // the user's, relative to the working directory
		if config := mustLoad(t, c.Preset, c.Set...); config.Data.Root != filepath.Join(dir, "work", "flag") {
			t.Errorf("%s", config.Data.Root)
		}
	}
}

// A file's name may be anything that a file system accepts.
func TestNamesOfFiles(t *testing.T) {
	for file, want := range map[string]string{
		"mine.toml": "mine", "a b.toml": "a b", ".toml": "unnamed", "..toml": "unnamed", ".hidden.toml": "hidden", "a\nb.toml": "a-b",
		"\x1b[31m.toml": "-[31m", "\u202egpj.toml": "-gpj", "gr\xf6\xdfe.toml": "gr--e", "x\\y.toml": "x-y", "größe.toml": "größe", " .toml": "unnamed",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte("extends = \"quickstart\"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c := mustLoad(t, path)
		if c.Name != want {
			t.Errorf("%q is called %q, want %q", file, c.Name, want)
		}
		if err := c.Validate(DataInfo{}); err != nil {
			t.Errorf("%q: %v", file, err)
		}
		if again := reload(t, c); !same(c, again) {
			t.Errorf("%q comes back as %q", file, again.Name)
		}
	}
}

// The canonical form is safe on any terminal, and loses nothing.
func TestCanonicalFormIsPrintable(t *testing.T) {
	c := mustLoad(t, "quickstart")
	c.Title = "\x1b]0;title\a\u009b31m\u202egpj\u2028\u200b\x7f \\u202e é"
	c.Notes = "two\nlines\tand \u0085"
	for _, unsafe := range []string{"\x1b", "\a", "\u009b", "\u202e", "\u2028", "\u200b", "\x7f", "\u0085"} {
		if strings.Contains(string(c.TOML()), unsafe) {
			t.Errorf("holds %q", unsafe)
		}
	}
	if again := reload(t, c); !same(c, again) {
		t.Errorf("comes back as %q, %q", again.Title, again.Notes)
	}
	c.Title = "\xff" // not valid in TOML; the rest must be readable
	if again := reload(t, c); again.Title != "\ufffd" {
		t.Errorf("comes back as %q", again.Title)
	}
}
