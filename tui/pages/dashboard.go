package pages

import (
	"context"
	"path/filepath"
	"slices"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
	"hatchery/tui/layout"
	"hatchery/tui/watch"
)

// Dashboard shows one run as it goes on.
type Dashboard struct {
	env    *Env
	dir    string
	w, h   int
	config *presets.Config // nil until read
	snap   watch.Snapshot
	list   components.List // of stages
	moved  bool            // the user chose a stage; before, the one that runs is chosen
	look   chart
	group  int // which stages have curves
	busy   string
	cancel context.CancelFunc
}

// The stages whose curves are shown together.
const (
	groupAuto = iota // those of the selected stage's kind
	groupFinal
	groupAll
	groupCount
)

var groupNames = []string{"like the selected", "fine-tuning and end to end", "all stages"}

var dashboardKeys = append(keymap.Table[*Dashboard]{
	{Name: "stage.up", Keys: []string{"up", "k"}, Help: "stage above", Do: func(p *Dashboard) tea.Cmd { p.moved = true; p.list.Move(-1); return nil }},
	{Name: "stage.down", Keys: []string{"down", "j"}, Help: "stage below", Do: func(p *Dashboard) tea.Cmd { p.moved = true; p.list.Move(1); return nil }},
	{Name: "stage.follow", Keys: []string{"f"}, Help: "follow the stage that runs", Do: func(p *Dashboard) tea.Cmd { p.moved = false; p.fit(); return nil }},
	{Name: "run.pause", Keys: []string{"p"}, Help: "pause / continue", When: (*Dashboard).own, Do: func(p *Dashboard) tea.Cmd {
		if p.paused() {
			return p.control(Continue)
		}
		return p.control(Pause)
	}},
	{Name: "run.stopepoch", Keys: []string{"s"}, Help: "stop after this epoch", Short: true, Danger: true, When: (*Dashboard).own,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(StopAfterEpoch) }},
	{Name: "run.stop", Keys: []string{"S"}, Help: "save and stop", Short: true, Danger: true, When: (*Dashboard).controllable,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(StopNow) }},
	{Name: "run.kill", Keys: []string{"K"}, Help: "kill without saving", Danger: true, When: (*Dashboard).controllable,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(Kill) }},
	{Name: "run.resume", Keys: []string{"r"}, Help: "resume", Short: true, When: (*Dashboard).resumable, Do: (*Dashboard).resume},
	{Name: "run.log", Keys: []string{"L"}, Help: "log", Short: true, Do: func(p *Dashboard) tea.Cmd { return send(Push{NewLog(p.env, p.log())}) }},
	{Name: "chart.group", Keys: []string{"v"}, Help: "stages with curves", Do: func(p *Dashboard) tea.Cmd { p.group = (p.group + 1) % groupCount; return nil }},
}, chartKeys[*Dashboard]()...)

// NewDashboard shows the run in a folder.
func NewDashboard(env *Env, dir string) *Dashboard { return &Dashboard{env: env, dir: dir} }

type (
	snapshotMsg struct {
		owner any
		ch    <-chan watch.Snapshot
		snap  watch.Snapshot
	}
	configMsg struct {
		owner  any
		dir    string
		config *presets.Config
		err    error
	}
	controlMsg struct {
		owner  *Dashboard
		answer string
		err    error
		live   *runs.Liveness // after the answer; nil if it cannot be read
	}
)

// next waits for the next snapshot of a channel.
func next(owner any, ch <-chan watch.Snapshot) tea.Cmd {
	return func() tea.Msg {
		s, ok := <-ch
		if !ok {
			return nil
		}
		return snapshotMsg{owner, ch, s}
	}
}

func readConfig(owner any, dir string) tea.Cmd {
	return func() tea.Msg {
		c, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
		return configMsg{owner, dir, c, err}
	}
}

// Init begins to follow the run.
func (p *Dashboard) Init() tea.Cmd {
	ctx, cancel := context.WithCancel(p.env.Ctx)
	p.cancel = cancel
	return tea.Batch(next(p, watch.Follow(ctx, p.dir, p.env.Every)), readConfig(p, p.dir))
}

// Close ends to follow the run, which goes on.
func (p *Dashboard) Close() {
	if p.cancel != nil {
		p.cancel()
	}
}

// Update takes what is new of the run.
func (p *Dashboard) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case snapshotMsg:
		if msg.owner != p {
			return nil
		}
		p.snap = msg.snap
		p.fit()
		return next(p, msg.ch)
	case configMsg:
		if msg.owner != p {
			return nil
		}
		if msg.err != nil {
			return fail(msg.err)
		}
		p.config = msg.config
	case controlAsked:
		if msg.owner == p {
			return p.control(msg.c)
		}
	case controlMsg:
		if msg.owner != p {
			return nil
		}
		p.busy = ""
		if msg.live != nil { // so that the next key is for the run as it is now
			p.snap.Live = *msg.live
		}
		if msg.err != nil {
			return fail(msg.err)
		}
		return flash(msg.answer)
	}
	return nil
}

// fit brings the list up to date with the stages.
func (p *Dashboard) fit() {
	p.SetSize(p.w, p.h)
	if p.moved || p.snap.State == nil {
		return
	}
	last := 0
	for i, st := range p.snap.State.Stages {
		if st.Phase == runs.Running {
			p.list.To(i)
			return
		}
		if st.Phase != runs.Waiting {
			last = i
		}
	}
	p.list.To(last)
}

func (p *Dashboard) controllable() bool {
	return p.env.Launcher != nil && there(p.snap.Live)
}

// own says that it is a process of ours that is controlled. Slurm's jobs neither
// idle nor end at the same epoch.
func (p *Dashboard) own() bool { return p.controllable() && !p.snap.Slurm }

// there says that a run has a process, or that a scheduler will start one.
func there(l runs.Liveness) bool {
	return l.Alive == runs.IsRunning || l.Alive == runs.IsStalled || l.Alive == runs.IsAway
}

// log is that of the selected stage, if it had a process of its own.
func (p *Dashboard) log() string {
	if s := p.snap.State; s != nil && p.list.At < len(s.Stages) {
		if path := runs.StageLogPath(p.dir, s.Stages[p.list.At].Name); path != "" {
			return path
		}
		if outputs, err := slurm.Outputs(p.dir); err == nil && outputs[s.Stages[p.list.At].Name] != "" {
			return outputs[s.Stages[p.list.At].Name]
		}
	}
	return runs.LogPath(p.dir)
}

func (p *Dashboard) paused() bool {
	return p.snap.Live.Alive == runs.IsRunning && p.snap.Live.Status.Phase == runs.Paused
}

func (p *Dashboard) resumable() bool {
	l := p.snap.Live
	return p.env.Launcher != nil && (l.Alive == runs.IsCrashed || l.Alive == runs.IsAway || l.Alive == runs.IsFinished && l.Status.Phase != runs.Finished)
}

func (p *Dashboard) ask(c Control) tea.Cmd {
	text := map[Control]string{
		StopAfterEpoch: "Stop the run after this epoch? It can be resumed.",
		StopNow:        "Save a checkpoint and stop the run now? It can be resumed.",
		Kill:           "Kill the run? What it trained since its last checkpoint is lost.",
	}[c]
	return send(Ask{Text: text, Yes: func() tea.Msg { return controlAsked{p, c} }})
}

// controlAsked is a control that was said yes to.
type controlAsked struct {
	owner *Dashboard
	c     Control
}

func (p *Dashboard) control(c Control) tea.Cmd {
	env, dir := p.env, p.dir
	p.busy = string(c)
	return func() tea.Msg {
		answer, err := env.Launcher.Control(env.Ctx, dir, c)
		if answer == "" {
			answer = string(c) + ": done"
		}
		return controlMsg{p, answer, err, env.health(dir)}
	}
}

// health is that of a run, nil if it cannot be read.
func (e *Env) health(dir string) *runs.Liveness {
	live, err := runs.ReadLiveness(dir, e.Now())
	if err != nil {
		return nil
	}
	return &live
}

func (p *Dashboard) resume() tea.Cmd {
	env, dir := p.env, p.dir
	p.busy = "resume"
	return func() tea.Msg {
		err := env.Launcher.Resume(env.Ctx, dir)
		return controlMsg{p, "resumed", err, env.health(dir)}
	}
}

func (p *Dashboard) chart() *chart { return &p.look }

// stages are those that have curves.
func (p *Dashboard) stages() []*runs.StageState {
	s := p.snap.State
	if s == nil || len(s.Stages) == 0 {
		return nil
	}
	selected := &s.Stages[min(p.list.At, len(s.Stages)-1)]
	var all []*runs.StageState
	for i := range s.Stages {
		st := &s.Stages[i]
		if st.Epochs == 0 && len(st.Points) < 2 {
			continue // assembling has no curve
		}
		keep := true
		switch p.group {
		case groupAuto:
			keep = alike(st, selected)
		case groupFinal:
			keep = st.Target
		}
		if keep {
			all = append(all, st)
		}
	}
	return all
}

// alike reports whether the curves of two stages are compared: those of modules of one
// method, and those of the target model.
func alike(a, b *runs.StageState) bool {
	switch {
	case a.Module > 0 || b.Module > 0:
		return a.Group == b.Group
	case a.Target || b.Target:
		return a.Target && b.Target
	}
	return a.Name == b.Name
}

func (p *Dashboard) curves() []charts.Series {
	t := p.env.Theme
	var all []charts.Series
	for i, st := range p.stages() {
		style := t.Curve(i)
		if st.Module > 0 {
			style = t.Curve(st.Module - 1)
		}
		all = append(all, charts.Series{Name: st.Name, Mark: mark(st), Style: style, Points: p.look.curve(p.snap, st.Name)})
	}
	// What the paper reports, beside what it is about.
	if paper := metrics[p.look.metric].paper; p.config != nil && paper != "" {
		for _, r := range p.config.Paper {
			shown := slices.ContainsFunc(p.stages(), func(st *runs.StageState) bool { return st.Target && st.Method == r.Method })
			if r.Metric == paper && shown {
				all = append(all, charts.Series{Name: "paper " + r.Method, Mark: '-', Style: t.Dim, Level: true, Points: []charts.Point{{X: 0, Y: r.Value}}})
			}
		}
	}
	return all
}

// Press does what a key does.
func (p *Dashboard) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	return dashboardKeys.Press(p, k.String())
}

// Call does the action of a name.
func (p *Dashboard) Call(name string) (tea.Cmd, bool) { return dashboardKeys.Call(p, name) }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Dashboard) FullHelp() []keymap.Entry  { return dashboardKeys.Entries(p) }
func (p *Dashboard) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing is never the case.
func (p *Dashboard) Typing() bool { return false }

// Title names the run.
func (p *Dashboard) Title() string { return filepath.Base(p.dir) }

// Copy is the run's folder.
func (p *Dashboard) Copy() string {
	if abs, err := filepath.Abs(p.dir); err == nil {
		return abs
	}
	return p.dir
}

// SetSize takes the size of the body.
func (p *Dashboard) SetSize(w, h int) {
	p.w, p.h = w, h
	n, gpus := 0, 0
	if p.snap.State != nil {
		n, gpus = len(p.snap.State.Stages), len(p.gpus())
	}
	p.list.SetSize(n, layout.NewDashboard(w, h, n+1, gpus).Rows.H-1)
}

// Going says that the run's process is there, or will be.
func (p *Dashboard) Going() bool {
	return there(p.snap.Live)
}
