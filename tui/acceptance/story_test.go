//go:build linux

package acceptance_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStory goes through a session of a user in a real terminal.
func TestStory(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	term := w.open(120, 40, w.hatchery)
	term.see(`› quickstart`)

	// Change a preset. An invalid value is reported, and the run cannot start.
	term.keys("Enter")
	term.see(`can start: press s`)
	term.set("modules.k", "99")
	term.see(`99 modules need at least 99 blocks`)
	term.see(`cannot start`)
	term.keys("s")
	term.see(`not started: .*99 blocks`)
	term.set("modules.k", "2")
	term.see(`8 blocks in 2 modules`)
	term.set("schedule", "12")
	term.see(`cannot start`)
	term.set("schedule", "12+4")
	setSmall(term)

	// Start the run, watch it and quit. The run continues.
	term.see(`can start: press s`)
	term.keys("s")
	term.see(`state +running`)
	term.moves(term.moves(0))
	term.fits()
	term.keys("q")
	if code := term.ended(); code != "0" {
		t.Errorf("left with exit code %s", code)
	}
	first := term.see(`run (quickstart-\S+) continues`)
	if status := w.run("status", first); !strings.Contains(status, "quickstart: running") {
		t.Errorf("after the workbench was left: %s", status)
	}

	// Watch it again until it is done.
	term.again(w.hatchery, "tui", first)
	term.see(`✓ done in \d+s: assembling \d+\.\d\d %`)

	// Start another run with other modules.
	term.keys("1")
	term.see(`here +done, top-1`)
	term.keys("Enter")
	term.see(`can start: press s`)
	term.set("modules.k", "4")
	term.set("schedule", "2+2")
	setSmall(term)
	term.see(`can start: press s`)
	term.keys("s")
	term.see(`state +running|✓ done in`)
	second := term.see(`presets → quickstart, 7 changed → (quickstart-\S+)`)
	if second == first {
		t.Fatalf("both runs are %s", first)
	}
	term.see(`✓ done in \d+s: assembling`)

	// Compare both.
	term.keys("2")
	term.see(`runs 2 of 2`)
	term.see(second + ` +✓ done(?s:.*)` + first + ` +✓ done`)
	term.keys("Space", "Space", "c")
	term.see(`A ` + first + ` +✓ done`)
	term.see(`B ` + second + ` +✓ done`)
	term.see(`modules.k +2 +4 `)
	term.see(`schedule +12\+4 +2\+2 `)
	term.see(`finetune best top-1, %`)
	if screen := term.screen(); strings.Contains(screen, "data.train") {
		t.Errorf("a setting that is the same is shown:\n%s", screen)
	}
	term.keys("e")
	term.see(`wrote compare.csv`)
	table, err := os.ReadFile(filepath.Join(w.dir, "compare.csv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"name," + first + "," + second, "modules.k,2,4", "schedule,12+4,2+2", "finetune best top-1"} {
		if !strings.Contains(string(table), line) {
			t.Errorf("no %q in the exported\n%s", line, table)
		}
	}

	// Screens of all sizes are readable, or show the required size and ignore keys.
	for _, page := range []struct{ key, text, footer string }{
		{"", "differences", "s next stage"}, {"Enter", "✓ done in", "L log"},
	} {
		if page.key != "" {
			term.keys(page.key)
		}
		term.see(page.text)
		// The screen changes by itself until the message at the bottom expires.
		term.see(page.footer + `.*\? help`)
		before := term.screen()
		term.resize(80, 24, "hatchery", page.footer)
		term.resize(60, 16, "hatchery", page.footer)
		for _, size := range [][2]int{{40, 10}, {20, 5}} {
			term.resize(size[0], size[1], fmt.Sprintf("screen %dx%d", size[0], size[1]), "")
			term.keys("q", "1", "Enter", "Escape", "D", "y", "?", ":")
		}
		term.resize(39, 9, "screen 39x9", "") // by when the keys were read
		term.resize(120, 40, "hatchery", page.footer)
		if after := term.screen(); after != before {
			t.Errorf("small screens have changed\n%s\nto\n%s", before, after)
		}
	}
	term.keys("q")
	if code := term.ended(); code != "0" {
		t.Errorf("left with exit code %s", code)
	}
}

// setSmall makes the quickstart in the editor a small experiment.
func setSmall(term *terminal) {
	term.Helper()
	for _, set := range small {
		key, value, _ := strings.Cut(set, "=")
		term.set(key, value)
	}
}

// TestCrash kills the process of a run that is being watched, and resumes it from the
// dashboard.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	id := w.start("schedule=12+2")
	one := w.open(120, 40, w.hatchery, "tui", id)
	one.see(`state +running`)
	one.see(`✓ meta `)
	old := w.live(id).Status.PID
	killed := time.Now()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	one.see(`crashed: .* r resumes from the last checkpoint`)
	if took := time.Since(killed); took > 15*time.Second {
		t.Errorf("the dashboard says crashed after %v, want 15 s at most", took)
	}
	one.see(`state +crashed`)
	one.see(`r resume `)
	events := one.events()
	one.keys("r")
	one.see(`attempts +2`)
	if pid := w.live(id).Status.PID; pid == old {
		t.Errorf("resumed, but its process is still %d", pid)
	}
	one.moves(events)

	// A dashboard that is opened later shows the same.
	two := w.open(120, 40, w.hatchery, "tui", id)
	one.see(`✓ done in`)
	two.see(`✓ done in`)
	one.see(`\? help`) // not the news of having resumed
	one.until("agreement of two viewers", func() bool { return one.screen() == two.screen() }, func() string { return one.screen() + "\nand\n" + two.screen() })
}

// tiny holds settings that make a small run very short.
var tiny = []string{"data.train=100", "model.depth=2", "model.width=16", "modules.k=2", "meta.epochs=2", "schedule=2+2"}

// TestBytes checks the output for terminals with few capabilities.
func TestBytes(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	id := w.start(tiny...)
	w.run("wait", id)
	colour := regexp.MustCompile(`\x1b\[(\d+[;:])*([34][0-8]|9[0-7]|10[0-7])([;:]\d+)*m`)
	for _, c := range []struct {
		name   string
		env    []string
		args   []string
		colour bool
		ascii  bool
	}{
		{name: "colours", colour: true},
		{name: "NO_COLOR", env: []string{"NO_COLOR=1"}},
		{name: "ascii", args: []string{"--ascii"}, colour: true, ascii: true},
		{name: "a locale without UTF-8", env: []string{"LC_ALL=C"}, colour: true, ascii: true},
	} {
		s := w.stream(c.env, append([]string{w.hatchery, "tui", id}, c.args...)...)
		s.see(0, "done in")
		// Open all pages, the help and the palette, and wait for each.
		for _, step := range [][2]string{{"L", "all lines"}, {"2", "1 of 1"}, {"?", "everywhere"}, {"x:", "action"}, {"\x1b", "runs 1"},
			{"1", "Small: minutes on a CPU or a GPU"}, {"\r", "can start"}} {
			from := len(s.bytes())
			s.press(step[0])
			s.see(from, step[1])
		}
		s.press("\x03")
		<-s.over
		got := s.bytes()
		if found := colour.Find(got); (found != nil) != c.colour {
			t.Errorf("%s: found the colour %q", c.name, found)
		}
		if i := bytes.IndexFunc(got, func(r rune) bool { return r > 126 }); i >= 0 == c.ascii {
			t.Errorf("%s: not ASCII at %d of %d bytes: %q", c.name, i, len(got), got[max(0, i-20):max(0, min(len(got), i+20))])
		}
	}
}

// firstFrame returns the time from the start of the workbench until its first page is
// complete.
func firstFrame(w *workplace) time.Duration {
	w.Helper()
	begin := time.Now()
	s := w.stream(nil, w.hatchery)
	s.see(0, "hatchery", "table4-vit-b-dn", "quit; runs continue")
	took := time.Since(begin)
	s.press("\x03")
	<-s.over
	return took
}

// TestFirstFrame checks the time of the first frame with a generous limit, because the
// machine is busy with other tests. See also BenchmarkFirstFrame.
func TestFirstFrame(t *testing.T) {
	w := newWorkplace(t)
	var all []time.Duration
	for range 5 {
		all = append(all, firstFrame(w))
	}
	slices.Sort(all)
	t.Logf("first frame after %v", all)
	if all[2] > time.Second {
		t.Errorf("first frame after %v in the median", all[2])
	}
}

func BenchmarkFirstFrame(b *testing.B) {
	w := newWorkplace(b)
	for b.Loop() {
		firstFrame(w)
	}
}
