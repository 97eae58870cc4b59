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

// testdata is where the tests began; they change to folders of their own.
var testdata string

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	runtime.GOMAXPROCS(2) // the memory that the editor shows depends on it
	var err error
	if testdata, err = filepath.Abs("testdata"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// screens are all that can be seen, with the keys that lead there.
var screens = []struct {
	name string
	open string // a run
	do   func(d *driver)
}{
	{"presets", "", func(d *driver) {
		d.until("quickstart", "here     running")
		d.press("/", "table", "enter") // the paper's do not change
		d.until("Table 4")
	}},
	{"presets-source", "", func(d *driver) {
		d.until("quickstart", "here     running")
		d.press("/", "table", "enter", "end", "s")
		d.until("what it changes", "extends")
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
		d.until("MACs: of one")
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

// screen is the index of a screen.
func screen(name string) int {
	for i, s := range screens {
		if s.name == name {
			return i
		}
	}
	panic("no screen " + name)
}

// edit opens the experiment of the recorded runs.
func (d *driver) edit() {
	d.send(pages.Push{Page: pages.NewEditor(d.a.env, "tiny.toml")})
	d.until("can start", "on cpu, 8 cores")
}

// at opens a screen at 120x40, where everything is shown that it waits for.
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

// machine matches what depends on how the engine plans its memory, and on how
// many presets there are.
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

// TestGoldenGPUs: how the GPUs of a run are, where there is room to say it.
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
		t.Errorf("%s differs (go test ./tui -update writes it anew); got:\n%s\nwant:\n%s", name, got, want)
	}
}

// Whatever the size, the screen has exactly that size, and in ASCII mode
// nothing else.
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
		t.Error("a key acted where nothing can be seen")
	}
	if s := d.screen(); !strings.Contains(s, "screen 59x16, need "+fmt.Sprintf("%dx%d", layout.LeastWidth, layout.LeastHeight)) {
		t.Errorf("the screen does not say what it needs:\n%s", s)
	}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.press("2")
	d.until("runs 3 of 3")
}

// TestStory is a user's way: configure, start, watch, leave, compare.
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
	d.press("enter") // closes the problem and does nothing else
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
	if want := "hatchery tui quickstart-new"; !strings.Contains(d.a.word, want) {
		t.Errorf("left with %q, want it to say %q", d.a.word, want)
	}
}

func TestQueue(t *testing.T) {
	dir := root(t)
	record(t, dir, "quickstart-d", nil, runs.Running, 0)
	record(t, dir, "quickstart-e", nil, runs.Running, 0)
	l := &launcher{queue: []string{"quickstart-e", "quickstart-d"}}
	d := at(t, screen("runs"), dir, Options{Launcher: l})
	d.until("queued 1", "queued 2")
	d.press("[") // the run at the cursor is quickstart-e: the latest of one time, by name
	const moved = "quickstart-e by -1"
	d.untilFunc(moved, func() bool { return l.asked() == moved })
	d.press("down", "down", "]") // not in the queue
	if got := l.asked(); got != moved {
		t.Errorf("the queue was asked to move %s", got)
	}
}

// A run whose status cannot be read may be running: it is not deleted.
func TestDeleteUnknown(t *testing.T) {
	dir := root(t)
	if err := os.WriteFile(filepath.Join(dir, "quickstart-b", "status.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := at(t, screen("runs"), dir, Options{})
	d.press("G", "D")
	d.until("not deleted, because it is not known whether quickstart-b is running")
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

// A key has one meaning on a page, and none that it has everywhere.
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

// Keys are documented by the table that they work by.
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
	d.until("line 99", "following") // open at the end
	if strings.Contains(d.screen(), "meta starts") {
		t.Error("the beginning is in view")
	}

	d.press("f")
	write("a line more\n", os.O_APPEND)
	d.untilFunc("that it is read", func() bool { return d.sees("of 106") })
	if d.sees("a line more") {
		t.Error("frozen, it moved")
	}
	d.press("f")
	d.until("a line more", "following")

	d.press("/", "slow", "enter")
	d.until("warning: the disk is slow", "frozen at line 2")
	d.press("e")
	d.until("warnings and errors", "a worker had to be started again")
	if d.sees("line 5") {
		t.Error("a line of no level is shown among warnings")
	}
	d.press("e")
	d.until("log, errors")
	if d.sees("the disk is slow") {
		t.Error("a warning is shown among errors")
	}

	d.press("e", "G")
	write("anew\n", os.O_TRUNC)
	d.untilFunc("the new log alone", func() bool { return d.sees("anew") && !d.sees("line 99") })
}

// TestSubmit hands an experiment to Slurm, where there is one.
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
	if d.sees("stop after this epoch") || d.sees("process ") {
		t.Error("jobs are shown as a process of ours")
	}
	if submitted == nil || submitted.Modules.K != 2 {
		t.Errorf("submitted %+v", submitted)
	}
	d.press("S")
	d.until("Save a checkpoint and stop the run now?")
	d.press("y")
	d.untilFunc("stop", func() bool { return l.asked() == "stop now" })
}
