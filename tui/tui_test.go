package tui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/layout"
	"hatchery/tui/pages"
)

// testdata is the absolute path of the folder testdata, since tests change their directory.
var testdata string

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	runtime.GOMAXPROCS(2) // the memory shown in the editor depends on it
	var err error
	if testdata, err = filepath.Abs("testdata"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// screens are the screens, with the keys that open them.
var screens = []struct {
	name string
	open string // run to open
	do   func(d *driver)
}{
	{"presets", "", func(d *driver) {
		d.until("quickstart", "here     running")
		d.press("/", "table", "enter") // the presets of the paper do not change
		d.until("Table 4")
	}},
	{"presets-source", "", func(d *driver) {
		d.until("quickstart", "here     running")
		d.press("/", "table", "enter", "end", "s")
		d.until("file", "extends")
	}},
	{"editor", "", func(d *driver) {
		d.edit()
	}},
	{"editor-wrong", "", func(d *driver) {
		d.edit()
		d.press("enter", "backspace", "5", "enter")
		d.until("cannot start")
	}},
	{"editor-cost", "", func(d *driver) {
		d.edit()
		d.press("tab")
		d.until("MACs: forward pass")
	}},
	{"editor-changes", "", func(d *driver) {
		d.edit()
		d.press("enter", "backspace", "2", "enter", "tab", "tab")
		d.until("now", "modules.k")
	}},
	{"running", "quickstart-c", func(d *driver) { d.until("running", "data     fashion") }},
	{"done", "quickstart-a", func(d *driver) { d.until("done in", "data     fashion"); d.press("v", "right") }},
	{"numbers", "quickstart-a", func(d *driver) { d.until("done in", "data     fashion"); d.press("v", "t") }},
	{"runs", "", func(d *driver) { d.until("quickstart"); d.press("2"); d.until("quickstart-c", "running") }},
	{"compare", "", func(d *driver) {
		d.until("quickstart")
		d.press("2")
		d.until("quickstart-c", "running")
		d.press("space", "space", "space", "c")
		d.until("finetune best", "modules.k", "(-0.75)", "module-1 best", "(-12.5)")
	}},
	{"problem", "", func(d *driver) {
		d.edit()
		d.press("enter", "backspace", "5", "enter")
		d.until("cannot start")
		d.press("s")
		d.until("esc closes it")
	}},
	{"log", "quickstart-c", func(d *driver) { d.until("running"); d.press("L"); d.until("module-2 starts") }},
	{"help", "quickstart-c", func(d *driver) { d.until("running", "data     fashion"); d.press("?"); d.until("everywhere") }},
	{"palette", "quickstart-c", func(d *driver) { d.until("running", "data     fashion"); d.press(":", "chart"); d.until("chart.log") }},
	{"sure", "quickstart-c", func(d *driver) {
		d.until("running", "data     fashion")
		d.press("s")
		d.until("Stop the run after this epoch?")
	}},
}

// screen returns the index of a screen.
func screen(name string) int {
	for i, s := range screens {
		if s.name == name {
			return i
		}
	}
	panic("no screen " + name)
}

// edit opens the editor with the experiment of the recorded runs.
func (d *driver) edit() {
	d.send(pages.Push{Page: pages.NewEditor(d.a.env, "tiny.toml")})
	d.until("can start", "on cpu, 8 cores")
}

// at opens a screen at 120x40, a size that shows everything it waits for.
func at(t *testing.T, i int, dir string, o Options) *driver {
	s := screens[i]
	o.Root, o.Env = dir, []string{"LANG=C.UTF-8"}
	if s.open != "" {
		o.Open = filepath.Join(dir, s.open)
	}
	if o.Launcher == nil {
		o.Launcher = &launcher{}
	}
	d := drive(t, o, 120, 40)
	s.do(d)
	return d
}

// machine matches text that depends on the engine's memory plan or on the number of
// presets.
var machine = regexp.MustCompile(`\d+\.\d MiB|of \d+ `)

func hide(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '#'
		}
		return r
	}, s)
}

func TestGolden(t *testing.T) {
	dir := root(t)
	for i, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			d := at(t, i, dir, Options{})
			for _, size := range [][2]int{{120, 40}, {80, 24}, {60, 16}, {40, 10}} {
				d.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				compare(t, fmt.Sprintf("%s-%dx%d.txt", s.name, size[0], size[1]), machine.ReplaceAllStringFunc(d.screen(), hide))
			}
		})
	}
}

// TestGoldenGPUs compares screens of runs on GPUs with golden files.
func TestGoldenGPUs(t *testing.T) {
	dir := root(t)
	busy := runs.Values{runs.GPU: 0, runs.GPUProducts: 4.06e14, runs.MFU: 41.05, runs.GPUBusy: 97, runs.GPUTemperature: 54, runs.GPUPower: 412.5,
		runs.GPUMemory: 61 << 30, runs.GPUMemoryTotal: 80 << 30}
	cool := runs.Values{runs.GPU: 1, runs.GPUProducts: 3.2e14, runs.GPUBusy: 91, runs.GPUTemperature: 48}
	record(t, dir, "gpu", nil, runs.Running, 0, busy)
	record(t, dir, "gpus", nil, runs.Running, 0, busy, cool)
	for _, name := range []string{"gpu", "gpus"} {
		show := func(ascii bool) *driver {
			d := drive(t, Options{Root: dir, Env: []string{"LANG=C.UTF-8"}, Launcher: &launcher{}, Open: filepath.Join(dir, name), ASCII: ascii}, 120, 40)
			d.until("running", "data     fashion", "97 % busy")
			return d
		}
		d, ascii := show(false), show(true)
		for _, size := range [][2]int{{120, 40}, {80, 24}, {60, 16}} {
			d.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			compare(t, fmt.Sprintf("%s-%dx%d.txt", name, size[0], size[1]), machine.ReplaceAllStringFunc(d.screen(), hide))
		}
		for _, w := range []int{60, 70, 100, 163} {
			for _, h := range []int{16, 20, 30, 80} {
				for _, d := range []*driver{d, ascii} {
					d.send(tea.WindowSizeMsg{Width: w, Height: h})
					exact(t, d.screen(), w, h, d == ascii)
				}
			}
		}
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	got = strings.Join(lines, "\n") + "\n"
	path := filepath.Join(testdata, name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./tui -update rewrites it); got:\n%s\nwant:\n%s", name, got, want)
	}
}

// TestSizes checks that each screen has exactly the requested size, and that it is pure
// ASCII in ASCII mode.
func TestSizes(t *testing.T) {
	dir := root(t)
	for i, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			d := at(t, i, dir, Options{})
			ascii := at(t, i, dir, Options{ASCII: true})
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

func exact(t *testing.T, screen string, w, h int, ascii bool) {
	t.Helper()
	lines := strings.Split(screen, "\n")
	if len(lines) != h {
		t.Fatalf("%dx%d has %d lines:\n%s", w, h, len(lines), screen)
	}
	for _, l := range lines {
		if ansi.StringWidth(l) != w {
			t.Fatalf("%dx%d has a line of %d cells: %q", w, h, ansi.StringWidth(l), l)
		}
		if ascii && strings.ContainsFunc(l, func(r rune) bool { return r > 126 }) {
			t.Fatalf("%dx%d is not ASCII: %q", w, h, l)
		}
	}
}

func TestTooSmall(t *testing.T) {
	d := at(t, screen("runs"), root(t), Options{})
	before := d.a.page()
	d.send(tea.WindowSizeMsg{Width: 59, Height: 16})
	d.press("enter", "2", "?", ":", "q")
	if d.a.page() != before || d.a.help || d.a.palette != nil || d.quit {
		t.Error("a key had an effect on a screen that is too small")
	}
	if s := d.screen(); !strings.Contains(s, "screen 59x16, need "+fmt.Sprintf("%dx%d", layout.MinWidth, layout.MinHeight)) {
		t.Errorf("the screen does not say which size it needs:\n%s", s)
	}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.press("2")
	d.until("runs 3 of 3")
}

// TestStory goes through a session of a user: configure, start, watch, control, quit.
func TestStory(t *testing.T) {
	dir := root(t)
	var started *presets.Config
	l := &launcher{start: func(c *presets.Config) (string, error) {
		started = c
		return record(t, dir, "quickstart-new", []string{"modules.k=2"}, runs.Running, 0), nil
	}}
	d := at(t, screen("editor"), dir, Options{Launcher: l})

	d.press("enter", "backspace", "3", "enter")
	d.until("! modules.k = 3", "cannot start")
	d.press("s")
	d.until("not started: modules.k = 3")
	if started != nil {
		t.Fatal("a wrong experiment was started")
	}
	d.press("enter") // only closes the problem
	if d.a.page().Typing() || d.sees("esc closes it") {
		t.Error("the key that closes a problem did something else, or did not close it")
	}
	d.press("enter", "backspace", "2", "enter")
	d.until("target", "can start")
	d.press("/", "schedule", "enter", "enter")
	for range 3 {
		d.press("backspace")
	}
	d.press("5+3", "enter")
	d.until("can start", "2 changed")
	d.press("s")
	d.until("quickstart-new", "modules 0/2")
	if started.Modules.K != 2 || started.Modular.Epochs != 5 || started.Finetune.Epochs != 3 {
		t.Errorf("started K = %d, %d+%d epochs", started.Modules.K, started.Modular.Epochs, started.Finetune.Epochs)
	}

	d.press("s")
	d.until("Stop the run after this epoch?")
	d.press("n", "s")
	d.until("Stop the run after this epoch?")
	d.press("y")
	d.until("checkpoint saved")
	d.press("K")
	d.until("Kill the run?")
	d.press("x", "n", "p")
	d.untilFunc("pause", func() bool { return l.asked() == "stop after this epoch, pause" })

	d.press("q")
	d.untilFunc("the end", func() bool { return d.quit })
	if want := "hatchery tui quickstart-new"; !strings.Contains(d.a.farewell, want) {
		t.Errorf("left with %q, want it to say %q", d.a.farewell, want)
	}
}

func TestQueue(t *testing.T) {
	dir := root(t)
	record(t, dir, "quickstart-d", nil, runs.Running, 0)
	record(t, dir, "quickstart-e", nil, runs.Running, 0)
	l := &launcher{queue: []string{"quickstart-e", "quickstart-d"}}
	d := at(t, screen("runs"), dir, Options{Launcher: l})
	d.until("queued 1", "queued 2")
	d.press("[") // the cursor is at quickstart-e: runs with the same time are in the order of their names
	const moved = "quickstart-e by -1"
	d.untilFunc(moved, func() bool { return l.asked() == moved })
	d.press("down", "down", "]") // not in the queue
	if got := l.asked(); got != moved {
		t.Errorf("the queue was asked to move %s", got)
	}
}

// TestDeleteUnknown checks that a run whose status cannot be read is not deleted, because it
// may be running.
func TestDeleteUnknown(t *testing.T) {
	dir := root(t)
	if err := os.WriteFile(filepath.Join(dir, "quickstart-b", "status.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := at(t, screen("runs"), dir, Options{})
	d.press("G", "D")
	d.until("not deleted, because it is unknown whether quickstart-b is running")
	if _, err := os.Stat(filepath.Join(dir, "quickstart-b", "config.toml")); err != nil {
		t.Error(err)
	}
}

func TestDelete(t *testing.T) {
	dir := root(t)
	d := at(t, screen("runs"), dir, Options{})
	d.press("D")
	d.until("quickstart-c is running: stop it first")
	d.press("down", "D")
	d.until("Delete quickstart-b")
	d.press("n", "D")
	d.until("Delete quickstart-b")
	d.press("y")
	d.until("deleted quickstart-b", "runs 2 of 2")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("left in the folder: %v", entries)
	}
}

// TestKeysDiffer checks that each key has one meaning on a page, including the keys that
// work everywhere.
func TestKeysDiffer(t *testing.T) {
	everywhere := map[string]string{}
	for _, e := range appKeys().All() {
		for _, k := range e.Keys {
			everywhere[k] = e.Name
		}
	}
	for _, s := range pages.Sections() {
		keys, names := map[string]string{}, map[string]bool{}
		for _, e := range s.Entries {
			if names[e.Name] {
				t.Errorf("%s: two actions are called %s", s.Title, e.Name)
			}
			names[e.Name] = true
			for _, k := range e.Keys {
				if keys[k] != "" || everywhere[k] != "" {
					t.Errorf("%s: %s is %s, and also %s%s", s.Title, k, e.Name, keys[k], everywhere[k])
				}
				keys[k] = e.Name
			}
		}
	}
}

// TestKeys compares keys.md with the tables of keys.
func TestKeys(t *testing.T) { compare(t, filepath.Join("..", "keys.md"), Keys()) }

func TestLog(t *testing.T) {
	dir := root(t)
	path := filepath.Join(dir, "quickstart-c", "log.txt")
	write := func(text string, flag int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var long strings.Builder
	for i := range 100 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	write(long.String(), os.O_APPEND)
	d := at(t, screen("running"), dir, Options{})
	d.press("L")
	d.until("line 99", "following") // it opens at the end
	if strings.Contains(d.screen(), "meta starts") {
		t.Error("the beginning is visible")
	}

	d.press("f")
	write("a line more\n", os.O_APPEND)
	d.untilFunc("the new line count", func() bool { return d.sees("of 106") })
	if d.sees("a line more") {
		t.Error("the frozen log moved")
	}
	d.press("f")
	d.until("a line more", "following")

	d.press("/", "slow", "enter")
	d.until("warning: the disk is slow", "frozen at line 2")
	d.press("e")
	d.until("warnings and errors", "a worker had to be started again")
	if d.sees("line 5") {
		t.Error("a line without a level is shown among warnings")
	}
	d.press("e")
	d.until("log, errors")
	if d.sees("the disk is slow") {
		t.Error("a warning is shown among errors")
	}

	d.press("e", "G")
	write("a new log\n", os.O_TRUNC)
	d.untilFunc("only the new log", func() bool { return d.sees("a new log") && !d.sees("line 99") })
}

// TestSubmit submits an experiment to Slurm, if there is Slurm.
func TestSubmit(t *testing.T) {
	dir := root(t)
	d := at(t, screen("editor"), dir, Options{})
	d.press("S")
	d.press("?")
	d.until("start when the machine is free")
	if d.sees("submit to Slurm") {
		t.Error("runs can be submitted without Slurm")
	}

	var submitted *presets.Config
	l := &launcher{submit: func(c *presets.Config) (string, error) {
		submitted = c
		run := record(t, dir, "quickstart-new", nil, runs.Submitted, 0)
		return run, os.WriteFile(filepath.Join(run, "slurm.json"), []byte("{}"), 0o600)
	}}
	d = at(t, screen("editor"), dir, Options{Launcher: l})
	d.press("enter", "backspace", "2", "enter")
	d.until("can start: press s, or S for Slurm")
	d.press("S")
	d.until("quickstart-new", "submitted: ", "S save and stop")
	if d.sees("stop after epoch") || d.sees("process ") {
		t.Error("the jobs are shown as one process")
	}
	if submitted == nil || submitted.Modules.K != 2 {
		t.Errorf("submitted %+v", submitted)
	}
	d.press("S")
	d.until("Save a checkpoint and stop the run now?")
	d.press("y")
	d.untilFunc("stop", func() bool { return l.asked() == "stop now" })
}
