package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/gofrs/flock"

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui/pages"
)

// driver stands in for Bubble Tea: it executes commands and delivers their messages.
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
	a.env.Speed = func(*presets.Config) (pipeline.Speed, bool) {
		return pipeline.Speed{Device: "cpu, 8 cores", MACs: 5e10, Basis: "measured in run quickstart-b"}, true
	}
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

// until handles messages until the screen has all the texts.
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

func (d *driver) untilFunc(event string, ok func() bool) {
	d.t.Helper()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case m := <-d.msgs:
			d.send(m)
		case <-deadline:
			d.t.Fatalf("the screen never shows %s:\n%s", event, d.screen())
		}
	}
}

var namedKeys = map[string]rune{
	"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "backspace": tea.KeyBackspace, "space": tea.KeySpace, "end": tea.KeyEnd,
}

// press presses keys, which are given by their names or as text.
func (d *driver) press(keys ...string) {
	for _, k := range keys {
		if code, ok := namedKeys[k]; ok {
			d.send(tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range k {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

var day = time.Date(2026, 1, 31, 14, 0, 0, 0, time.UTC)

// record writes the folder of a run as its process would: a complete run if phase is
// Finished, otherwise the part until the modules have trained two epochs.
//
// gpus are values of steps on GPUs, which the stages use in turn.
func record(t *testing.T, root, id string, sets []string, phase runs.Phase, gain float64, gpus ...runs.Values) string {
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
	for _, s := range method.Stages(c) {
		epochs := 0
		if s.Trains() {
			epochs = s.Settings(c).Epochs
		}
		plan = append(plan, runs.StagePlan{Stage: s.Name, Method: s.Method(), StageInfo: s.Describe(c), Epochs: epochs, Steps: 50 * epochs, Cost: 1})
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
			if len(gpus) > 0 {
				emit(runs.Event{Kind: runs.Step, Stage: s.Stage, Epoch: e, Step: 50*e - 1, Values: gpus[i%len(gpus)]})
			}
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
		// The heartbeat of another machine, in the future: the run counts as running.
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

// launcher is a pages.Launcher that records requests instead of executing them.
type launcher struct {
	start    func(c *presets.Config) (string, error)
	submit   func(c *presets.Config) (string, error) // nil: there is no Slurm
	studyID  string                                  // of the study that StartStudy starts
	queue    []string
	mu       sync.Mutex
	controls []string
}

func (l *launcher) note(control string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.controls = append(l.controls, control)
}

// asked returns the requests so far.
func (l *launcher) asked() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.controls, ", ")
}

func (l *launcher) Start(_ context.Context, c *presets.Config, queue bool) (string, error) {
	return l.start(c)
}
func (l *launcher) CanSubmit() bool { return l.submit != nil }
func (l *launcher) Submit(_ context.Context, c *presets.Config) (string, error) {
	return l.submit(c)
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
func (l *launcher) StartStudy(_ context.Context, d *presets.Study, small bool) (string, error) {
	l.note(fmt.Sprintf("start %s, small %v", d.Name, small))
	return l.studyID, nil
}
func (l *launcher) ResumeStudy(_ context.Context, id string) error {
	l.note("resume " + id)
	return nil
}
func (l *launcher) StopStudy(_ context.Context, id string) error {
	l.note("stop " + id)
	return nil
}
func (l *launcher) Check(context.Context, *presets.Config, []pipeline.Estimate) error { return nil }

// recordStudy writes the folder of a study as its process would: a complete study if phase
// is Finished, otherwise the part until the second of its four cells is being executed.
func recordStudy(t *testing.T, root, id string, options study.Options, phase runs.Phase) {
	t.Helper()
	d, err := presets.LoadStudy(filepath.Join(testdata, "tinystudy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d.Name = "tiny" // instead of the path
	s := &study.Study{Root: root, ID: id, Created: day, Definition: d, Options: options}
	if err := os.MkdirAll(filepath.Join(s.Dir(), "cells"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, cell := range d.Cells(nil) {
		sets := append([]string{"run.methods=" + cell.Method}, cell.Set...)
		c, err := presets.Load(filepath.Join(testdata, "tiny.toml"), sets)
		if err != nil {
			t.Fatal(err)
		}
		run := id + "-" + cell.ID()
		s.Cells = append(s.Cells, study.Cell{Name: cell.ID(), Series: cell.Series, Label: cell.Label, At: cell.At, Method: cell.Method, Run: run})
		write(filepath.Join(s.Dir(), "cells", cell.ID()+".toml"), c.TOML())
		switch {
		case phase == runs.Finished || i == 0:
			dir := record(t, root, run, sets, runs.Finished, float64(2*i))
			for _, stage := range method.Stages(c) {
				path := filepath.Join(dir, "stages", stage.Name)
				if err := os.MkdirAll(path, 0o700); err != nil {
					t.Fatal(err)
				}
				data, err := json.Marshal(runs.Outcome{Stage: stage.Name, Checkpoint: "checkpoint-1.safetensors", SHA256: "0", Values: runs.Values{runs.Top1: 60, pipeline.TrainSeconds: 10, pipeline.Gain: float64(i)}})
				if err != nil {
					t.Fatal(err)
				}
				write(filepath.Join(path, "done"), data)
			}
		case i == 1:
			record(t, root, run, sets, phase, 0)
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(s.Dir(), "study.json"), data)
	if phase == runs.Running {
		l := flock.New(filepath.Join(s.Dir(), "lock"))
		if ok, err := l.TryLock(); !ok || err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
}

// studies creates a folder with a running study and one that is done.
func studies(t *testing.T) string {
	dir := root(t)
	recordStudy(t, dir, "tiny-a", study.Options{}, runs.Finished)
	recordStudy(t, dir, "tiny-b", study.Options{Small: true, Set: []string{"seed=1"}}, runs.Running)
	return dir
}

// root creates a folder with a running run and two that are done.
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
