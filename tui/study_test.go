package tui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/tui/pages"
)

// studyScreens are the screens of studies; see screens for the others.
var studyScreens = []struct {
	name string
	do   func(d *driver)
}{
	{"studies", func(d *driver) {
		d.until("tiny-b", "1 of 4")
		d.press("/", "tiny", "enter")
		d.until("assembling-4 module-4 epoch 2")
	}},
	{"studies-all", func(d *driver) { // show a study of the program that rarely changes
		d.until("tiny-b", "fig9")
		d.press("/", "fig9", "enter")
		d.until("small variant", "from quickstart")
	}},
	{"study-running", func(d *driver) { d.openStudy("tiny-b") }},
	{"study-done", func(d *driver) { d.openStudy("tiny-a"); d.press("down") }},
}

// openStudy opens a study from the list.
func (d *driver) openStudy(id string) {
	d.until("tiny-b")
	d.press("/", id, "enter", "enter")
	d.until("by K", "assembling")
}

// atStudies opens one of studyScreens.
func atStudies(t *testing.T, dir string, do func(d *driver), o Options) *driver {
	o.Root, o.Env = dir, []string{"LANG=C.UTF-8"}
	if o.Launcher == nil {
		o.Launcher = &launcher{}
	}
	d := drive(t, o, 120, 40)
	d.press("3")
	do(d)
	return d
}

func TestGoldenStudies(t *testing.T) {
	dir := studies(t)
	for _, s := range studyScreens {
		t.Run(s.name, func(t *testing.T) {
			d := atStudies(t, dir, s.do, Options{})
			ascii := atStudies(t, dir, s.do, Options{ASCII: true})
			for _, size := range [][2]int{{120, 40}, {80, 24}, {60, 16}, {40, 10}} {
				d.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				compare(t, fmt.Sprintf("%s-%dx%d.txt", s.name, size[0], size[1]), d.screen())
			}
			for _, w := range []int{20, 59, 60, 70, 100, 163, 250} {
				for _, h := range []int{5, 15, 16, 20, 30, 80} {
					for _, d := range []*driver{d, ascii} {
						d.send(tea.WindowSizeMsg{Width: w, Height: h})
						exact(t, d.screen(), w, h, d == ascii)
					}
				}
			}
		})
	}
}

// TestStudyStory goes through a session of a user: start, watch, open a cell, stop, quit.
func TestStudyStory(t *testing.T) {
	dir := studies(t)
	l := &launcher{}
	d := atStudies(t, dir, func(d *driver) { d.until("tiny-b", "fig9") }, Options{Launcher: l})
	d.press("s", "S", "r") // a running study can neither be started nor resumed
	if got := l.asked(); got != "" || d.a.ask != nil {
		t.Fatalf("asked for %s", got)
	}
	d.press("/", "figure 4", "enter", "enter")
	d.until("was not started yet")
	d.press("/", " left", "enter", "S")
	if d.a.ask != nil {
		t.Error("a study without a small variant can be started small")
	}
	d.press("s")
	d.until("Start fig4-vit-l: 6 experiments from preset table1-vit-l")
	d.press("n", "/")
	for range len("figure 4 left") {
		d.press("backspace")
	}
	d.press("fig8", "enter", "S")
	d.until("Start the small variant of fig8: 6 experiments from preset quickstart")
	if got := l.asked(); got != "" {
		t.Fatalf("started without confirmation: %s", got)
	}
	l.studyID = "tiny-b"
	d.press("y")
	d.until("running, 1 of 4 cells, small variant", "module-4 epoch 2", "started; it continues")
	if got, want := l.asked(), "start fig8, small true"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}

	// Enter opens the dashboard of a cell that has started; Esc goes back.
	d.press("G", "enter")
	d.until("e2e has not started")
	d.press("g", "down", "enter")
	d.until("tiny-b-assembling-4", "modules 0/4")
	d.press("esc")
	d.until("1 of 4 cells")

	// Changes are shown without a key.
	record(t, dir, "tiny-b-assembling-4", []string{"run.methods=assembling", "modules.k=4"}, runs.Finished, 0)
	d.until("2 of 4 cells")

	d.press("r")
	if got := l.asked(); strings.Contains(got, "resume") {
		t.Error("a running study was resumed")
	}
	d.press("S")
	d.until("Save a checkpoint and stop the study now?")
	d.press("y")
	d.until("stopped; every finished step")
	if got, want := l.asked(), "start fig8, small true, stop tiny-b"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	d.press("q")
	d.untilFunc("the end", func() bool { return d.quit })
	if want := "study tiny-b continues; to see it again: hatchery study status tiny-b"; d.a.farewell != want {
		t.Errorf("left with %q, want %q", d.a.farewell, want)
	}
}

// TestStudyResume resumes a study without a process from the list and from its page.
func TestStudyResume(t *testing.T) {
	dir := root(t)
	recordStudy(t, dir, "tiny-c", study.Options{}, runs.Stopped)
	l := &launcher{}
	d := atStudies(t, dir, func(d *driver) { d.until("tiny-c", "interrupted") }, Options{Launcher: l})
	d.press("r")
	d.until("resumed; it continues")
	d.press("enter")
	d.until("interrupted, 1 of 4 cells", "‖ interrupted")
	d.press("S")
	if d.a.ask != nil {
		t.Error("a study that no process executes can be stopped")
	}
	d.press("r")
	const want = "resume tiny-c, resume tiny-c"
	d.untilFunc(want, func() bool { return l.asked() == want })
}

// TestStudyBroken checks that a study that cannot be read is listed as such and does not
// hide the others.
func TestStudyBroken(t *testing.T) {
	dir := studies(t)
	broken := filepath.Join(dir, runs.StudiesDir, "tiny-broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "study.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := atStudies(t, dir, func(d *driver) { d.until("tiny-a", "tiny-b", "tiny-broken", "cannot be read") }, Options{})
	d.press("down", "down")
	d.until("study.json")
	d.press("enter", "f", "y")
	d.send(pages.Push{Page: pages.NewStudy(d.a.env, "tiny-broken")})
	d.until("study.json: unexpected end")
}

// TestStudyViewOnly checks that without a launcher, studies can only be viewed.
func TestStudyViewOnly(t *testing.T) {
	dir := studies(t)
	d := drive(t, Options{Root: dir, Env: []string{"LANG=C.UTF-8"}}, 120, 40)
	d.press("3")
	d.until("tiny-b", "fig10")
	d.press("tab", "s", "S", "r")
	if d.a.ask != nil {
		t.Error("a study can be started without a launcher")
	}
	d.press("enter")
	d.until("was not started yet: hatchery study fig4")
}
