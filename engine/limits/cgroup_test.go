package limits

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestLayouts determines the limits of machines from files of their /proc and /sys. The archives
// in testdata have the expected limits: "memory BYTES FROM", tightest first, and
// "cpu CORES FROM".
func TestLayouts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d layouts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			machine := fstest.MapFS{}
			for _, f := range archive.Files {
				machine[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			var want, got []string
			for line := range strings.Lines(string(archive.Comment)) {
				if !strings.HasPrefix(line, "#") {
					want = append(want, strings.TrimSpace(line))
				}
			}
			found := system{machine}.memory(0)
			slices.SortStableFunc(found, func(a, b Memory) int { return int(a.Bytes - b.Bytes) })
			for _, m := range found {
				got = append(got, fmt.Sprintf("memory %d %s", m.Bytes, m.From))
			}
			if p, ok := (system{machine}).quota(); ok {
				got = append(got, fmt.Sprintf("cpu %g %s", p.Cores, p.From))
			}
			if !slices.Equal(got, want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestHeldMemory checks that memory that the process already uses counts as available, but that
// a limit is never exceeded.
func TestHeldMemory(t *testing.T) {
	machine := system{fstest.MapFS{
		"proc/self/cgroup":             {Data: []byte("0::/\n")},
		"proc/self/mountinfo":          {Data: []byte("36 35 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")},
		"sys/fs/cgroup/memory.max":     {Data: []byte("1000\n")},
		"sys/fs/cgroup/memory.current": {Data: []byte("400\n")},
	}}
	for held, want := range map[int64]int64{0: 600, 300: 900, 5000: 1000} {
		if got := machine.memory(held); len(got) != 1 || got[0].Bytes != want {
			t.Errorf("with %d bytes held: %+v, want %d bytes", held, got, want)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b\134`: `/a b\`, `\011x`: "\tx", `bad\04`: `bad\04`, `\`: `\`, `\999`: `\999`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzCgroup checks that arbitrary files of /proc are parsed or ignored.
func FuzzCgroup(f *testing.F) {
	f.Add("4:memory:/a", "36 35 0:30 /a /sys/fs/cgroup rw - cgroup cgroup rw,memory", "12", "total_inactive_file 4")
	f.Add("0::/../..", `36 35 0:30 / /x\04 rw - cgroup2 c rw`, "max", "")
	f.Fuzz(func(t *testing.T, own, mounts, limit, stat string) {
		machine := fstest.MapFS{"proc/self/cgroup": {Data: []byte(own)}, "proc/self/mountinfo": {Data: []byte(mounts)}}
		for _, dir := range []string{"sys/fs/cgroup/", "x/", ""} {
			for _, name := range []string{"memory.max", "memory.limit_in_bytes", "memory.current", "memory.usage_in_bytes"} {
				machine[dir+name] = &fstest.MapFile{Data: []byte(limit)}
			}
			machine[dir+"memory.stat"] = &fstest.MapFile{Data: []byte(stat)}
			machine[dir+"cpu.max"] = &fstest.MapFile{Data: []byte(limit + " 100")}
		}
		for _, m := range (system{machine}).memory(1) {
			if m.Bytes < 0 {
				t.Errorf("%+v", m)
			}
		}
		system{machine}.quota()
	})
}
