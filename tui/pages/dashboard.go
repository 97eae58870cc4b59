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

// Dashboard is the page that follows one run.
type Dashboard struct {
	env    *Env
	dir    string
	w, h   int
	config *presets.Config // nil until read
	snap   watch.Snapshot
	list   components.List // of stages
	moved  bool            // the user selected a stage; otherwise the running one is selected
	plot   chart
	group  int    // the stages whose curves are shown: groupAuto, groupFinal, groupAll
	busy   string // request in progress
	cancel context.CancelFunc
}

// The stages whose curves are shown together.
const (
	groupAuto = iota // stages like the selected one
	groupFinal
	groupAll
	groupCount
)

var groupNames = []string{"stages like the selected", "fine-tuning and end to end", "all stages"}

var dashboardKeys = append(keymap.Table[*Dashboard]{
	{Name: "stage.up", Keys: []string{"up", "k"}, Help: "previous stage", Do: func(p *Dashboard) tea.Cmd { p.moved = true; p.list.Move(-1); return nil }},
	{Name: "stage.down", Keys: []string{"down", "j"}, Help: "next stage", Do: func(p *Dashboard) tea.Cmd { p.moved = true; p.list.Move(1); return nil }},
	{Name: "stage.follow", Keys: []string{"f"}, Help: "follow the running stage", Do: func(p *Dashboard) tea.Cmd { p.moved = false; p.fit(); return nil }},
	{Name: "run.pause", Keys: []string{"p"}, Help: "pause / continue", When: (*Dashboard).pausable, Do: func(p *Dashboard) tea.Cmd {
		if p.paused() {
			return p.control(Continue)
		}
		return p.control(Pause)
	}},
	{Name: "run.stopafterepoch", Keys: []string{"s"}, Help: "stop after epoch", Short: true, Danger: true, When: (*Dashboard).pausable,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(StopAfterEpoch) }},
	{Name: "run.stop", Keys: []string{"S"}, Help: "save and stop", Short: true, Danger: true, When: (*Dashboard).controllable,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(StopNow) }},
	{Name: "run.kill", Keys: []string{"K"}, Help: "kill without saving", Danger: true, When: (*Dashboard).controllable,
		Do: func(p *Dashboard) tea.Cmd { return p.ask(Kill) }},
	{Name: "run.resume", Keys: []string{"r"}, Help: "resume", Short: true, When: (*Dashboard).resumable, Do: (*Dashboard).resume},
	{Name: "run.log", Keys: []string{"L"}, Help: "log", Short: true, Do: func(p *Dashboard) tea.Cmd { return send(Push{NewLog(p.env, p.log())}) }},
	{Name: "chart.group", Keys: []string{"v"}, Help: "curves of other stages", Do: func(p *Dashboard) tea.Cmd { p.group = (p.group + 1) % groupCount; return nil }},
}, chartKeys[*Dashboard]()...)

// NewDashboard returns a page that shows the run in dir.
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
		owner *Dashboard
		reply string
		err   error
		live  *runs.Liveness // after the reply; nil if it cannot be read
	}
)

// next returns a command that waits for the next snapshot.
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

// Init starts following the run.
func (p *Dashboard) Init() tea.Cmd {
	ctx, cancel := context.WithCancel(p.env.Ctx)
	p.cancel = cancel
	return tea.Batch(next(p, watch.Follow(ctx, p.dir, p.env.Every)), readConfig(p, p.dir))
}

// Close stops following the run, which continues.
func (p *Dashboard) Close() {
	if p.cancel != nil {
		p.cancel()
	}
}

// Update handles the results of commands.
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
	case confirmedMsg:
		if msg.owner == p {
			return p.control(msg.c)
		}
	case controlMsg:
		if msg.owner != p {
			return nil
		}
		p.busy = ""
		if msg.live != nil { // so that the next key acts on the present state
			p.snap.Live = *msg.live
		}
		if msg.err != nil {
			return fail(msg.err)
		}
		return flash(msg.reply)
	}
	return nil
}

// fit updates the list to the stages.
func (p *Dashboard) fit() {
	p.SetSize(p.w, p.h)
	if p.moved || p.snap.State == nil {
		return
	}
	last := 0
	for i, st := range p.snap.State.Stages {
		if st.Phase == runs.Running {
			p.list.MoveTo(i)
			return
		}
		if st.Phase != runs.Waiting {
			last = i
		}
	}
	p.list.MoveTo(last)
}

func (p *Dashboard) controllable() bool {
	return p.env.Launcher != nil && active(p.snap.Live)
}

// pausable reports whether the run can be paused and stopped after an epoch. Slurm jobs
// cannot: they would block their nodes, and they do not end at the same epoch.
func (p *Dashboard) pausable() bool { return p.controllable() && !p.snap.Slurm }

// active reports whether a run has a process, or a scheduler will start one.
func active(l runs.Liveness) bool {
	return l.Alive == runs.IsRunning || l.Alive == runs.IsStalled || l.Alive == runs.IsAway
}

// log returns the path of the log of the selected stage if it had a process of its own,
// otherwise that of the run.
func (p *Dashboard) log() string {
	if s := p.snap.State; s != nil && p.list.Selected < len(s.Stages) {
		if path := runs.StageLogPath(p.dir, s.Stages[p.list.Selected].Name); path != "" {
			return path
		}
		if outputs, err := slurm.Outputs(p.dir); err == nil && outputs[s.Stages[p.list.Selected].Name] != "" {
			return outputs[s.Stages[p.list.Selected].Name]
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
		Kill:           "Kill the run? Its progress since the last checkpoint is lost.",
	}[c]
	return send(Ask{Text: text, Yes: func() tea.Msg { return confirmedMsg{p, c} }})
}

// confirmedMsg says that the user has confirmed a request.
type confirmedMsg struct {
	owner *Dashboard
	c     Control
}

func (p *Dashboard) control(c Control) tea.Cmd {
	env, dir := p.env, p.dir
	p.busy = string(c)
	return func() tea.Msg {
		reply, err := env.Launcher.Control(env.Ctx, dir, c)
		if reply == "" {
			reply = string(c) + ": done"
		}
		return controlMsg{p, reply, err, env.liveness(dir)}
	}
}

// liveness returns the liveness of a run, or nil if it cannot be read.
func (e *Env) liveness(dir string) *runs.Liveness {
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
		return controlMsg{p, "resumed", err, env.liveness(dir)}
	}
}

func (p *Dashboard) chart() *chart { return &p.plot }

// stages returns the stages whose curves are shown.
func (p *Dashboard) stages() []*runs.StageState {
	s := p.snap.State
	if s == nil || len(s.Stages) == 0 {
		return nil
	}
	selected := &s.Stages[min(p.list.Selected, len(s.Stages)-1)]
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

// alike reports whether the curves of two stages are comparable: both are modules of one
// group, or both train the target model.
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
		all = append(all, charts.Series{Name: st.Name, Mark: mark(st), Style: style, Points: p.plot.curve(p.snap, st.Name)})
	}
	// Add the paper's numbers for the methods that are shown.
	if paper := metrics[p.plot.metric].paper; p.config != nil && paper != "" {
		for _, r := range p.config.Paper {
			shown := slices.ContainsFunc(p.stages(), func(st *runs.StageState) bool { return st.Target && st.Method == r.Method })
			if r.Metric == paper && shown {
				all = append(all, charts.Series{Name: "paper " + r.Method, Mark: '-', Style: t.Dim, Level: true, Points: []charts.Point{{X: 0, Y: r.Value}}})
			}
		}
	}
	return all
}

// Press handles a key.
func (p *Dashboard) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	return dashboardKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Dashboard) Call(name string) (tea.Cmd, bool) { return dashboardKeys.Call(p, name) }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Dashboard) FullHelp() []keymap.Entry  { return dashboardKeys.Entries(p) }
func (p *Dashboard) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing returns false: the page has no input.
func (p *Dashboard) Typing() bool { return false }

// Title returns the id of the run.
func (p *Dashboard) Title() string { return filepath.Base(p.dir) }

// Copy returns the folder of the run.
func (p *Dashboard) Copy() string {
	if abs, err := filepath.Abs(p.dir); err == nil {
		return abs
	}
	return p.dir
}

// SetSize sets the size of the body.
func (p *Dashboard) SetSize(w, h int) {
	p.w, p.h = w, h
	n, gpus := 0, 0
	if p.snap.State != nil {
		n, gpus = len(p.snap.State.Stages), len(p.gpus())
	}
	p.list.SetSize(n, layout.NewDashboard(w, h, n+1, gpus).Rows.H-1)
}

// Active reports whether the run has a process, or will have one.
func (p *Dashboard) Active() bool { return active(p.snap.Live) }
