package presets

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
)

// A time limit is the same as the one that is written out in full from its seconds.
func FuzzSlurmTime(f *testing.F) {
	for _, text := range []string{"1-2:03:04", "90", "4:00:00", "0-2700000", "10000-0", "1-", "+1", "1:-1", "0:0:99999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, ok := SlurmTime(text)
		if !ok {
			if limit != 0 {
				t.Errorf("%q is refused and %v", text, limit)
			}
			return
		}
		if limit < 0 || limit > 10000*24*time.Hour {
			t.Fatalf("%q is %v", text, limit)
		}
		if strings.Trim(text, "0123456789:-") != "" {
			t.Errorf("%q is %v", text, limit)
		}
		seconds := int64(limit / time.Second)
		full := fmt.Sprintf("%d-%d:%d:%d", seconds/86400, seconds/3600%24, seconds/60%60, seconds%60)
		if again, ok := SlurmTime(full); !ok || again != limit {
			t.Errorf("%q is %v, but %q %v, %v", text, limit, full, again, ok)
		}
	})
}

// Writing a parsed device gives the text it was parsed from.
func FuzzDevice(f *testing.F) {
	for _, s := range []string{"auto", "cpu", "cuda", "cuda:3", "cuda:0,1", "cuda:0,0", "cuda:00", "cuda:256", "cuda:", "cuda:-1", "CPU"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDevice(s)
		if err != nil {
			if d.Kind != "" || d.GPUs != nil || err.Error() == "" {
				t.Errorf("%q is refused, %v, and %+v", s, err, d)
			}
			return
		}
		written := d.Kind
		if s != "cuda" && len(d.GPUs) > 0 {
			written += ":" + strings.ReplaceAll(strings.Trim(fmt.Sprint(d.GPUs), "[]"), " ", ",")
		}
		if written != s || (d.Kind == "cuda") != (len(d.GPUs) > 0) {
			t.Errorf("%q is %+v", s, d)
		}
		slices.Sort(d.GPUs)
		if len(slices.Compact(slices.Clone(d.GPUs))) != len(d.GPUs) || len(d.GPUs) > 0 && (d.GPUs[0] < 0 || d.GPUs[len(d.GPUs)-1] > maxGPU) {
			t.Errorf("%q names %v", s, d.GPUs)
		}
	})
}

// Files that are nested deeply, or contain long or many keys, are read or rejected within
// seconds even on a busy machine, and within memory.
func TestHostileFiles(t *testing.T) {
	const n = 200_000
	for name, src := range map[string]string{
		"arrays":         "x = " + strings.Repeat("[", n) + strings.Repeat("]", n),
		"arrays, lines":  "x = " + strings.Repeat("[\n", n) + strings.Repeat("]\n", n),
		"inline tables":  "x = " + strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n),
		"a dotted key":   strings.Repeat("a.", n) + "b = 1",
		"a header":       "[" + strings.Repeat("a . ", n) + "b]\nc = 1",
		"behind a quote": "title = \"it's\" # \"\nnotes = '''\n\"'''\nx = " + strings.Repeat("[", n),
		"a long key":     strings.Repeat("a", maxFile) + " = 1",
		"a long array":   "x = [" + strings.Repeat("1,", n) + "]",
		"many tables":    strings.Repeat("[[t]]\n", n/10),
	} {
		begin := time.Now()
		_, err := parseFile("hostile.toml", src)
		if err == nil || !strings.HasPrefix(err.Error(), "hostile.toml:") {
			t.Errorf("%s: %.200v", name, err)
		}
		if _, err := parseStudy("hostile.toml", src); err == nil {
			t.Errorf("%s is a study", name)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: refused after %v", name, took)
		}
	}
	if _, err := Load("quickstart", []string{"modules.split=" + strings.Repeat("[", 50_000)}); err == nil {
		t.Error("a flag of 50,000 brackets is accepted")
	}
	if err := checkDepth("x", "notes = \"\"\""+strings.Repeat("[\n", n)+"\"\"\"\na.b.c = [[1.5], {d = '[[['}] # "+strings.Repeat("[.", n)); err != nil {
		t.Errorf("brackets in strings and comments are not nesting: %v", err)
	}
}

// A document is rejected for its depth if and only if its decoded value is deep.
func FuzzDepth(f *testing.F) {
	for _, n := range []int{1, maxNesting - 1, maxNesting, maxNesting + 1} {
		f.Add("x = " + strings.Repeat("[", n) + "'[[' " + strings.Repeat("]", n) + "# [[\n[t]\ny.z = \"\"\"[{\"\"\"\n")
		f.Add("x = " + strings.Repeat("{a = ", n) + "1.5" + strings.Repeat("}", n))
		f.Add("[" + strings.Repeat("a.", n) + "\"b.c\"]\nd = 'x\\'\ne = \"y\\\"[\"")
	}
	f.Fuzz(func(t *testing.T, src string) {
		var raw map[string]any
		if len(src) > 1<<12 {
			t.Skip("too long to be of use")
		}
		if _, err := toml.Decode(src, &raw); err != nil {
			return
		}
		deepest := depth(raw)
		if err := checkDepth("x", src); err != nil && deepest <= maxNesting {
			t.Errorf("%d deep: %v", deepest, err)
		} else if most := 3 * (maxNesting + 1); err == nil && deepest > most { // a header, a key and a value
			t.Errorf("%d deep and not refused", deepest)
		}
	})
}

// depth returns the depth of the deepest value of a decoded document.
func depth(v any) (deepest int) {
	if list, ok := array(v); ok {
		for _, e := range list {
			deepest = max(deepest, depth(e))
		}
		return deepest + 1
	}
	if table, ok := v.(map[string]any); ok {
		for _, e := range table {
			deepest = max(deepest, depth(e))
		}
		return deepest + 1
	}
	return 0
}

// A schedule consists of two numbers of epochs and a plus sign.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"200+100", " 1 + 2 ", "200++100", "-1+2", "0+1", "1+", "1+2+3", "99999999999999999999+1"} {
		f.Add(s)
	}
	digits := regexp.MustCompile(`^[0-9]+\+[0-9]+$`)
	spaces := func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}
	f.Fuzz(func(t *testing.T, s string) {
		modular, finetune, ok := parseSchedule(s)
		if !ok {
			return
		}
		if modular <= 0 || finetune <= 0 || !digits.MatchString(strings.Map(spaces, s)) {
			t.Errorf("%q is %d and %d epochs", s, modular, finetune)
		}
		if a, b, ok := parseSchedule(fmt.Sprintf("%d+%d", modular, finetune)); !ok || a != modular || b != finetune {
			t.Errorf("%q is %d and %d epochs, and again %d and %d", s, modular, finetune, a, b)
		}
	})
}

// A preset with --set flags can be written to a file and read back unchanged, or every
// problem names a flag.
func FuzzSet(f *testing.F) {
	for _, set := range [][2]string{
		{"modules.k=2", "schedule=3+2"}, {"title=two words", "notes=\"a\\nb\""}, {"run.methods=e2e,assembling", "meta.betas=0.9, 0.99"},
		{"title=\x1b[31m\u202e", "name=a/b"}, {"data.root=~/x", "data.name=folder"}, {"model.width=1e3", "model=3"}, {"=", "extends=mae"},
		{"train.lr=nan", "e2e.lr=-inf"}, {"modules.split=[1, 2]\nk=3", "seed=18446744073709551615"}, {"title='''a'''", "title=\"\"\""},
		{"title=caf\xe9", "k=\xff"}, {"0.\x10oot=1", "\x1b[31m"}, {"data.root=/a//b/../c", "launch.slurm.extra=[\"--exclude=n7\"]"}, {"model.classes=9223372036854775807", "e2e.batch=-9223372036854775808"},
	} {
		f.Add(set[0], set[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		sets := []string{a, b}
		c, err := Load("quickstart", sets)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%q: %v", sets, err)
			}
			for _, p := range problems {
				if p.Where == "" || p.Reason == "" {
					t.Errorf("%q: %+v", sets, p)
				}
			}
			if line := err.Error(); strings.Count(line, "\n") > len(problems) || strings.ContainsFunc(strings.ReplaceAll(line, "\n", ""), func(r rune) bool { return r < ' ' && r != '\t' }) {
				t.Errorf("%q: the error contains control characters: %q", sets, line)
			}
			return
		}
		if err := c.Validate(DataInfo{}); err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, c.TOML(), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path, nil)
		if err != nil {
			t.Fatalf("%q: %v\n%s", sets, err, c.TOML())
		}
		// The positions of values do not matter. DeepEqual would find NaN unequal to itself.
		c.origins, again.origins = nil, nil
		if was, is := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", again); was != is {
			t.Errorf("%q: written\n%s\nread\n%s", sets, was, is)
		}
		if changes := Diff(c, again); len(changes) > 0 {
			t.Errorf("%q: %v", sets, changes)
		}
	})
}

// A configuration whose text or name is not in UTF-8 never produces a file that cannot be
// read.
func TestOtherEncodings(t *testing.T) {
	if _, err := Load("quickstart", []string{"data.root=/caf\xe9"}); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("a path in Latin-1: %v", err)
	}
	path := filepath.Join(t.TempDir(), "caf\xe9.toml")
	if err := os.WriteFile(path, []byte("extends = \"quickstart\"\n"), 0o600); err != nil {
		t.Skipf("this file system does not accept such a name: %v", err)
	}
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseFile("config.toml", string(c.TOML())); err != nil {
		t.Errorf("of a file in Latin-1: %v", err)
	}
}

// A study that is read gives its cells names that are valid as file names, and can be
// stored as JSON; or every error names the file.
func FuzzStudy(f *testing.F) {
	for _, name := range studyNames() {
		src, err := StudySource(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(src) < 2000 {
			f.Add(src)
		}
	}
	f.Add("title = \"t\"\npreset = \"quickstart\"\n[[series]]\nname = \"a\"\nmethod = \"e2e\"\nkey = \"train.lr\"\nvalues = [1e-3, 1000000, 0.1, true, \"x\"]\n")
	f.Add("title = \"t\"\npreset = \"p\"\n[[series]]\nname = \"---\"\nmethod = \"e2e\"\nkey = \"a\"\nvalues = [1, 2]\nat = [nan, inf]\n")
	f.Add("title = \"t\"\n[small]\npreset = \"p\"\n[[small.series]]\nname = \"a\"\nmethod = \"m\"\n[[small.series.point]]\nlabel = \"" + strings.Repeat("x", 300) + "\"\nat = nan\n")
	f.Add("title = 3\n[[series]\n")
	id := regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, src string) {
		s, err := parseStudy("fuzz.toml", src)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				first := strings.HasPrefix(strings.TrimSpace(line), "fuzz.toml")
				if !first && !strings.Contains(line, " problems in the configuration:") && !strings.Contains(line, " | ") {
					t.Errorf("%q is not a position in fuzz.toml", line)
				}
			}
			return
		}
		for _, g := range s.grids() {
			seen := map[string]bool{}
			for _, c := range g.Cells([]string{"seed=1"}) {
				if !id.MatchString(c.ID()) || len(c.ID()) > maxCellID || seen[c.ID()] {
					t.Errorf("a cell is called %q", c.ID())
				}
				seen[c.ID()] = true
			}
		}
		kept, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("%q cannot be kept: %v", src, err)
		}
		if err := json.Unmarshal(kept, new(Study)); err != nil {
			t.Fatal(err)
		}
	})
}
