package pages

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/pipeline"
	"hatchery/models"
	"hatchery/presets"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
)

// Editor changes a preset and starts it.
type Editor struct {
	env  *Env
	w, h int

	base    *presets.Config // the preset as it is
	x       experiment
	verdict verdict
	costs   costs
	speed   speed
	round   int  // of changes; what belongs to an earlier one is late
	costing bool // the changes are being checked, or their costs worked out
	waiting bool // a start is under way

	list    components.List
	input   *components.Input
	before  experiment // while a value is typed: what Esc brings back
	name    *components.Input
	filter  *components.Input
	side    int // which panel is beside the fields
	changed bool
}

// The panels beside the fields.
const (
	sideOverview = iota
	sideCost
	sideDiff
	sideCount
)

var editorKeys = append(keymap.Table[*Editor]{
	{Name: "field.edit", Keys: []string{"enter", "e"}, Help: "change", Short: true, Do: (*Editor).edit},
	{Name: "experiment.start", Keys: []string{"s"}, Help: "start", Short: true, Do: func(p *Editor) tea.Cmd { return p.start(false) }},
	{Name: "experiment.queue", Keys: []string{"Q"}, Help: "start when the machine is free", Do: func(p *Editor) tea.Cmd { return p.start(true) }},
	{Name: "experiment.submit", Keys: []string{"S"}, Help: "submit to Slurm", When: (*Editor).submits, Do: (*Editor).submit},
	{Name: "experiment.save", Keys: []string{"w"}, Help: "save as TOML", Short: true, Do: func(p *Editor) tea.Cmd {
		p.name.Start(p.x.base + "-mine.toml")
		return nil
	}},
	{Name: "side.next", Keys: []string{"tab"}, Help: "split / cost / changes", Short: true, Do: func(p *Editor) tea.Cmd { p.side = (p.side + 1) % sideCount; return nil }},
	{Name: "field.more", Keys: []string{"+", "right"}, Help: "next value", Do: func(p *Editor) tea.Cmd { return p.step(1) }},
	{Name: "field.less", Keys: []string{"-", "left"}, Help: "value before", Do: func(p *Editor) tea.Cmd { return p.step(-1) }},
	{Name: "field.reset", Keys: []string{"backspace", "u"}, Help: "the preset's value", Do: (*Editor).reset},
	{Name: "field.filter", Keys: []string{"/"}, Help: "filter", Do: func(p *Editor) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "field.changed", Keys: []string{"c"}, Help: "only what is changed", Do: func(p *Editor) tea.Cmd { p.changed = !p.changed; p.fit(); return nil }},
	{Name: "list.pageup", Keys: []string{"pgup"}, Help: "page up", Do: func(p *Editor) tea.Cmd { p.list.Move(-p.list.Height); return nil }},
	{Name: "list.pagedown", Keys: []string{"pgdown"}, Help: "page down", Do: func(p *Editor) tea.Cmd { p.list.Move(p.list.Height); return nil }},
}, listKeys[*Editor](nil)...)

// NewEditor edits a preset, by its name or the path of a file.
func NewEditor(env *Env, base string) *Editor {
	return &Editor{
		env: env, x: experiment{base: base},
		input: components.NewInput(""), name: components.NewInput("file"), filter: components.NewInput("filter"),
	}
}

type (
	baseMsg struct {
		owner *Editor
		base  *presets.Config
		err   error
	}
	verdictMsg struct {
		owner *Editor
		round int
		verdict
	}
	pauseMsg struct { // typing has paused
		owner *Editor
		round int
	}
	costsMsg struct {
		owner *Editor
		round int
		costs
	}
	speedMsg struct {
		owner *Editor
		speed
	}
	startedMsg struct {
		owner   *Editor
		dir     string
		said    string
		warning string // what will end it
		err     error
	}
)

// Init reads the preset.
func (p *Editor) Init() tea.Cmd {
	x := p.x
	return tea.Batch(func() tea.Msg {
		c, err := x.load()
		return baseMsg{p, c, err}
	}, p.judge())
}

// judge has the experiment checked as it is now.
func (p *Editor) judge() tea.Cmd {
	p.round++
	p.costing = true
	x, round := p.x, p.round
	return func() tea.Msg { return verdictMsg{p, round, x.judge()} }
}

// speed is how fast the experiment's device trains a network like its own.
type speed struct {
	of    speedOf
	known bool
	pipeline.Speed
}

// speedOf is what a speed depends on.
type speedOf struct {
	device  string
	threads int
	model   models.ViT
}

// clock has the speed found out, which may take a moment, where something that
// it depends on has changed.
func (p *Editor) clock() tea.Cmd {
	c, env := p.verdict.config, p.env
	of := speedOf{c.Run.Device, c.Run.Threads, c.Model}
	if of == p.speed.of {
		return nil
	}
	p.speed.of = of
	return func() tea.Msg {
		s, known := env.Speed(c)
		return speedMsg{p, speed{of, known, s}}
	}
}

// Update takes what commands found out.
func (p *Editor) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case baseMsg:
		if msg.owner != p {
			return nil
		}
		if msg.err != nil {
			return fail(msg.err)
		}
		p.base = msg.base
		p.fit()
	case verdictMsg:
		if msg.owner != p || msg.round != p.round {
			return nil
		}
		if msg.config == nil {
			msg.config = p.verdict.config // the last that could be read
		}
		p.verdict, p.costs.wrong = msg.verdict, nil
		if len(msg.wrong) > 0 {
			p.costing = false
			return nil
		}
		// A plan takes long enough to wait for the end of typing.
		round := p.round
		return tea.Tick(200*time.Millisecond, func(time.Time) tea.Msg { return pauseMsg{p, round} })
	case pauseMsg:
		if msg.owner != p || msg.round != p.round {
			return nil
		}
		c, env := p.verdict.config, p.env
		return tea.Batch(func() tea.Msg {
			if env.Launcher == nil {
				return costsMsg{p, msg.round, estimate(env.Ctx, c, nil)}
			}
			return costsMsg{p, msg.round, estimate(env.Ctx, c, func(stages []pipeline.Estimate) error {
				return env.Launcher.Check(env.Ctx, c, stages)
			})}
		}, p.clock())
	case costsMsg:
		if msg.owner == p && msg.round == p.round {
			p.costs, p.costing = msg.costs, false
		}
	case speedMsg:
		if msg.owner == p && msg.of == p.speed.of {
			p.speed = msg.speed
		}
	case startedMsg:
		if msg.owner != p {
			return nil
		}
		p.waiting = false
		if msg.err != nil {
			return fail(msg.err)
		}
		said := Flash{Text: msg.said}
		if msg.warning != "" {
			said = Flash{Text: msg.warning, Bad: true}
		}
		return tea.Batch(send(said), send(Push{NewDashboard(p.env, msg.dir)}))
	case tea.PasteMsg:
		p.input.Paste(msg)
		p.name.Paste(msg)
		p.filter.Paste(msg)
		if p.input.Active() {
			return p.typed()
		}
	}
	return nil
}

// shown lists the fields that the filter lets pass.
func (p *Editor) shown() []presets.Setting {
	var all []presets.Setting
	for _, f := range fields {
		if p.changed && !p.isChanged(f) || !matches(p.filter.Text(), f.Key, f.Help, f.Group) {
			continue
		}
		all = append(all, f)
	}
	return all
}

func (p *Editor) isChanged(f presets.Setting) bool {
	return p.base != nil && p.verdict.config != nil && f.Text(p.base) != f.Text(p.verdict.config)
}

// fit brings the list up to date with the fields that are shown.
func (p *Editor) fit() { p.SetSize(p.w, p.h) }

func (p *Editor) selected() (presets.Setting, bool) {
	all := p.shown()
	if p.list.At >= len(all) {
		return presets.Setting{}, false
	}
	return all[p.list.At], true
}

func (p *Editor) edit() tea.Cmd {
	f, ok := p.selected()
	if !ok || p.verdict.config == nil {
		return nil
	}
	p.before = p.x
	p.input.Start(p.value(f))
	return nil
}

// value returns the value of a setting, or the typed text if that is not a value.
func (p *Editor) value(f presets.Setting) string {
	typed, ok := p.x.sets[f.Key]
	if !ok || p.wrong(f) == "" {
		return f.Text(p.verdict.config)
	}
	if text, err := strconv.Unquote(typed); err == nil {
		return text
	}
	return typed
}

// typed takes the value as far as it is typed.
func (p *Editor) typed() tea.Cmd {
	f, ok := p.selected()
	if !ok {
		return nil
	}
	p.x = p.x.with(f.Key, f.Literal(p.input.Text()))
	return p.judge()
}

func (p *Editor) reset() tea.Cmd {
	f, ok := p.selected()
	if !ok {
		return nil
	}
	p.x = p.x.without(f.Key)
	return p.judge()
}

// step goes to the next sensible value: one more, the next word of a choice.
func (p *Editor) step(by int) tea.Cmd {
	f, ok := p.selected()
	if !ok || p.verdict.config == nil {
		return nil
	}
	value, ok := valueAfter(f, f.Text(p.verdict.config), by)
	if !ok {
		return nil
	}
	p.x = p.x.with(f.Key, f.Literal(value))
	return p.judge()
}

// reasons are why the experiment cannot start.
func (p *Editor) reasons() presets.Problems {
	all := append(presets.Problems{}, p.verdict.wrong...)
	if len(all) > 0 {
		return all
	}
	return append(all, p.costs.wrong...)
}

func (p *Editor) start(queue bool) tea.Cmd {
	switch {
	case p.env.Launcher == nil:
		return fail(fmt.Errorf("runs cannot be started from here"))
	case p.waiting || p.verdict.config == nil:
		return nil
	case p.costing:
		return flash("still checking; press again in a moment")
	}
	if rs := p.reasons(); len(rs) > 0 {
		p.side = sideOverview
		return fail(fmt.Errorf("not started: %s", rs[0].String()))
	}
	p.waiting = true
	c, env := p.verdict.config, p.env
	return tea.Batch(flash("starting: waiting for the run's first event"), func() tea.Msg {
		dir, err := env.Launcher.Start(env.Ctx, c, queue)
		return startedMsg{p, dir, "started; it runs on when this screen is closed", env.Launcher.Warning(), err}
	})
}

func (p *Editor) submits() bool { return p.env.Launcher != nil && p.env.Launcher.Submits() }

// submit hands the experiment to Slurm. What this machine lacks does not matter.
func (p *Editor) submit() tea.Cmd {
	if p.waiting || p.verdict.config == nil {
		return nil
	}
	if len(p.verdict.wrong) > 0 {
		p.side = sideOverview
		return fail(fmt.Errorf("not submitted: %s", p.verdict.wrong[0].String()))
	}
	p.waiting = true
	c, env := p.verdict.config, p.env
	return tea.Batch(flash("submitting its jobs"), func() tea.Msg {
		dir, err := env.Launcher.Submit(env.Ctx, c)
		return startedMsg{p, dir, "submitted to Slurm", "", err}
	})
}

func (p *Editor) saved(path string) tea.Cmd {
	x, title := p.x, p.x.base+" with changes"
	return func() tea.Msg {
		if err := x.save(path, title); err != nil {
			return Flash{Text: err.Error(), Bad: true}
		}
		return Flash{Text: "saved " + path}
	}
}

// Press does what a key does.
func (p *Editor) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	switch {
	case p.input.Active():
		text := p.input.Text()
		entered, left := p.input.Press(k)
		switch {
		case left:
			p.x = p.before
			return p.judge(), true
		case !entered && p.input.Text() != text:
			return p.typed(), true
		}
		return nil, true
	case p.name.Active():
		if entered, _ := p.name.Press(k); entered && p.name.Text() != "" {
			return p.saved(p.name.Text()), true
		}
		return nil, true
	case p.filter.Active():
		p.filter.Press(k)
		p.fit()
		return nil, true
	}
	return editorKeys.Press(p, k.String())
}

// Call does the action of a name.
func (p *Editor) Call(name string) (tea.Cmd, bool) { return editorKeys.Call(p, name) }

func (p *Editor) cursor() *components.List { return &p.list }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Editor) FullHelp() []keymap.Entry  { return editorKeys.Entries(p) }
func (p *Editor) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing says that keys are text.
func (p *Editor) Typing() bool { return p.input.Active() || p.name.Active() || p.filter.Active() }

// Title names the page.
func (p *Editor) Title() string {
	if n := len(p.x.sets); n > 0 {
		return fmt.Sprintf("%s, %d changed", p.x.base, n)
	}
	return p.x.base
}

// Copy is the command that runs the experiment.
func (p *Editor) Copy() string {
	var b strings.Builder
	b.WriteString("hatchery run " + p.x.base)
	for _, set := range p.x.flags() {
		b.WriteString(" --set '" + set + "'")
	}
	return b.String()
}

// Close has nothing to end.
func (p *Editor) Close() {}
