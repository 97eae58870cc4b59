package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/pipeline"
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
	var err error
	if testdata, err = filepath.Abs("testdata"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// driver stands for Bubble Tea: it runs commands and brings their messages.
type driver struct {
	t    *testing.T
	a    *app
	msgs chan tea.Msg
	quit bool
}

func drive(t *testing.T, o Options, w, h int) *driver {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	o.Theme = "dark"
	a := newApp(ctx, o)
	a.env.Every = 20 * time.Millisecond
	d := &driver{t: t, a: a, msgs: make(chan tea.Msg, 100)}
	d.do(a.Init())
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	return d
}

func (d *driver) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		switch m := cmd().(type) {
		case nil:
		case tea.BatchMsg:
			for _, c := range m {
				d.do(c)
			}
		default:
			select {
			case d.msgs <- m:
			case <-d.a.env.Ctx.Done():
			}
		}
	}()
}

func (d *driver) send(m tea.Msg) {
	if _, ok := m.(tea.QuitMsg); ok {
		d.quit = true
		return
	}
	_, cmd := d.a.Update(m)
	d.do(cmd)
}

func (d *driver) screen() string { return ansi.Strip(d.a.screen()) }

func (d *driver) sees(text string) bool { return strings.Contains(d.screen(), text) }

// until takes messages until the screen has all the texts.
func (d *driver) until(texts ...string) {
	d.t.Helper()
	d.untilFunc(strings.Join(texts, ", "), func() bool {
		s := d.screen()
		for _, x := range texts {
			if !strings.Contains(s, x) {
				return false
			}
		}
		return true
	})
}

func (d *driver) untilFunc(what string, ok func() bool) {
	d.t.Helper()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case m := <-d.msgs:
			d.send(m)
		case <-deadline:
			d.t.Fatalf("the screen never shows %s:\n%s", what, d.screen())
		}
	}
}

var named = map[string]rune{
	"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "backspace": tea.KeyBackspace, "space": tea.KeySpace, "end": tea.KeyEnd,
}

// press gives keys, by their names or as text.
func (d *driver) press(keys ...string) {
	for _, k := range keys {
		if code, ok := named[k]; ok {
			d.send(tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range k {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

var day = time.Date(2026, 1, 31, 14, 0, 0, 0, time.UTC)

// record writes the folder of a run as its process would leave it: all of it,
// or the part until the modules have trained two epochs.
func record(t *testing.T, root, id string, sets []string, phase runs.Phase, gain float64) string {
	t.Helper()
	dir := filepath.Join(root, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := presets.Load(filepath.Join(testdata, "tiny.toml"), sets)
	if err != nil {
		t.Fatal(err)
	}
	var events bytes.Buffer
	at := day
	emit := func(e runs.Event) {
		at = at.Add(time.Second)
		e.Time = at
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		events.Write(append(line, '\n'))
	}
	var plan []runs.StagePlan
	for _, s := range pipeline.Stages(c) {
		epochs := map[pipeline.Kind]int{pipeline.Meta: c.Meta.Epochs, pipeline.Incubate: c.Modular.Epochs, pipeline.Finetune: c.Finetune.Epochs, pipeline.E2E: c.E2E.Epochs}[s.Kind]
		plan = append(plan, runs.StagePlan{Stage: s.Name, Method: s.Method, Epochs: epochs, Steps: 50 * epochs, Cost: 1})
	}
	emit(runs.Event{Kind: runs.RunStart, Plan: plan})
	for i, s := range plan {
		half := phase != runs.Finished && strings.HasPrefix(s.Stage, "module")
		if phase != runs.Finished && i > c.Modules.K {
			break
		}
		emit(runs.Event{Kind: runs.StageStart, Stage: s.Stage, Method: s.Method, Epochs: s.Epochs, Steps: s.Steps})
		for e := 1; e <= s.Epochs; e++ {
			if half && e > 2 {
				break
			}
			x := float64(e)
			values := runs.Values{runs.Loss: 2.3 / x, runs.LR: 1e-3 / x, runs.Speed: 900 + 10*x}
			emit(runs.Event{Kind: runs.Epoch, Stage: s.Stage, Epoch: e, Step: 50 * e, Values: values})
			emit(runs.Event{Kind: runs.Eval, Stage: s.Stage, Epoch: e, Step: 50 * e,
				Values: runs.Values{runs.EvalLoss: 2 / x, runs.Top1: 80 + gain - 50/x + float64(i)}})
		}
		if !half {
			emit(runs.Event{Kind: runs.StageEnd, Stage: s.Stage, Epoch: s.Epochs, Step: s.Steps, Values: runs.Values{runs.Top1: 70}})
		}
	}
	status := runs.Status{Phase: phase, Stage: "module-1", PID: 4242, Host: "gpu-1", Started: day, Heartbeat: day}
	switch phase {
	case runs.Finished:
		emit(runs.Event{Kind: runs.Result, Method: "assembling", Values: runs.Values{runs.Top1: 79.5 + gain, pipeline.TrainSeconds: 60}})
		emit(runs.Event{Kind: runs.Result, Method: "e2e", Values: runs.Values{runs.Top1: 78.25, pipeline.TrainSeconds: 61}})
		emit(runs.Event{Kind: runs.Done})
		status.Stage = "e2e"
	case runs.Running:
		// Of another machine, with a clock that is ahead: it counts as running
		// whenever the test is.
		status.Heartbeat = day.AddDate(1000, 0, 0)
	}
	data, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"config.toml": c.TOML(), "events.jsonl": events.Bytes(), "status.json": data,
		"log.txt": []byte("meta starts\nwarning: the disk is slow\nmodule-1 starts\nerror: a worker had to be started again\nmodule-2 starts\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// launcher starts runs that somebody else did.
type launcher struct {
	start    func(c *presets.Config) (string, error)
	queue    []string
	mu       sync.Mutex
	controls []string
}

func (l *launcher) note(control string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.controls = append(l.controls, control)
}

// asked is what was asked of runs.
func (l *launcher) asked() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.controls, ", ")
}

func (l *launcher) Start(_ context.Context, c *presets.Config, queue bool) (string, error) {
	return l.start(c)
}
func (l *launcher) Warning() string                          { return "" }
func (l *launcher) Queued(context.Context) ([]string, error) { return l.queue, nil }
func (l *launcher) MoveQueued(_ context.Context, id string, by int) error {
	l.note(fmt.Sprintf("%s by %d", id, by))
	return nil
}
func (l *launcher) Resume(context.Context, string) error {
	l.note("resume")
	return nil
}
func (l *launcher) Control(_ context.Context, _ string, c pages.Control) (string, error) {
	l.note(string(c))
	return "checkpoint saved", nil
}
func (l *launcher) Check(context.Context, *presets.Config) error { return nil }

// root is a folder with a run that goes on and two that are done.
func root(t *testing.T) string {
	t.Helper()
	t.Chdir(t.TempDir())
	const dir = "runs"
	tiny, err := os.ReadFile(filepath.Join(testdata, "tiny.toml"))
	if err == nil {
		err = os.WriteFile("tiny.toml", tiny, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	record(t, dir, "quickstart-a", nil, runs.Finished, 0)
	record(t, dir, "quickstart-b", []string{"modules.k=2", "seed=7"}, runs.Finished, 1.25)
	record(t, dir, "quickstart-c", nil, runs.Running, 0)
	return dir
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
		d.until("problem; any key closes it")
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
	d.until("can start", "time: ")
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
	if d.a.page().Typing() || d.sees("any key closes it") {
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
