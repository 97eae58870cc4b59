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

// Editor is the page that changes the settings of a preset and starts it.
type Editor struct {
	env  *Env
	w, h int

	base       *presets.Config // the preset without changes
	x          experiment
	validation validation
	costs      costs
	speed      speed
	round      int  // number of the last change; results for earlier ones are ignored
	checking   bool // the experiment is being validated and planned
	starting   bool // the run is being started

	list     components.List
	input    *components.Input
	previous experiment // while a value is typed, the experiment that Esc restores
	name     *components.Input
	filter   *components.Input
	side     int  // the side panel: sideOverview, sideCost, sideDiff
	changed  bool // show only changed settings
}

// The side panels.
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
	{Name: "experiment.submit", Keys: []string{"S"}, Help: "submit to Slurm", When: (*Editor).canSubmit, Do: (*Editor).submit},
	{Name: "experiment.save", Keys: []string{"w"}, Help: "save as TOML", Short: true, Do: func(p *Editor) tea.Cmd {
		p.name.Start(p.x.base + "-mine.toml")
		return nil
	}},
	{Name: "side.next", Keys: []string{"tab"}, Help: "split / cost / changes", Short: true, Do: func(p *Editor) tea.Cmd { p.side = (p.side + 1) % sideCount; return nil }},
	{Name: "field.more", Keys: []string{"+", "right"}, Help: "next value", Do: func(p *Editor) tea.Cmd { return p.step(1) }},
	{Name: "field.less", Keys: []string{"-", "left"}, Help: "previous value", Do: func(p *Editor) tea.Cmd { return p.step(-1) }},
	{Name: "field.reset", Keys: []string{"backspace", "u"}, Help: "reset to the preset's value", Do: (*Editor).reset},
	{Name: "field.filter", Keys: []string{"/"}, Help: "filter", Do: func(p *Editor) tea.Cmd { p.filter.Start(p.filter.Text()); return nil }},
	{Name: "field.changed", Keys: []string{"c"}, Help: "changed settings only", Do: func(p *Editor) tea.Cmd { p.changed = !p.changed; p.fit(); return nil }},
	{Name: "list.pageup", Keys: []string{"pgup"}, Help: "page up", Do: func(p *Editor) tea.Cmd { p.list.Move(-p.list.Height); return nil }},
	{Name: "list.pagedown", Keys: []string{"pgdown"}, Help: "page down", Do: func(p *Editor) tea.Cmd { p.list.Move(p.list.Height); return nil }},
}, listKeys[*Editor](nil)...)

// NewEditor returns a page that edits a preset. base is its name or the path of its file.
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
	validationMsg struct {
		owner *Editor
		round int
		validation
	}
	pauseMsg struct { // the user has stopped typing
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
		text    string
		warning string // see Launcher.Warning
		err     error
	}
)

// Init reads the preset.
func (p *Editor) Init() tea.Cmd {
	x := p.x
	return tea.Batch(func() tea.Msg {
		c, err := x.load()
		return baseMsg{p, c, err}
	}, p.validate())
}

// validate returns a command that validates the experiment.
func (p *Editor) validate() tea.Cmd {
	p.round++
	p.checking = true
	x, round := p.x, p.round
	return func() tea.Msg { return validationMsg{p, round, x.validate()} }
}

// speed is the training speed of the experiment's device with networks like its own.
type speed struct {
	key   speedKey
	known bool
	pipeline.Speed
}

// speedKey holds everything that a speed depends on.
type speedKey struct {
	device  string
	threads int
	model   models.ViT
}

// readSpeed returns a command that determines the speed, or nil if nothing that it depends
// on has changed.
func (p *Editor) readSpeed() tea.Cmd {
	c, env := p.validation.config, p.env
	key := speedKey{c.Run.Device, c.Run.Threads, c.Model}
	if key == p.speed.key {
		return nil
	}
	p.speed.key = key
	return func() tea.Msg {
		s, known := env.Speed(c)
		return speedMsg{p, speed{key, known, s}}
	}
}

// Update handles the results of commands.
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
	case validationMsg:
		if msg.owner != p || msg.round != p.round {
			return nil
		}
		if msg.config == nil {
			msg.config = p.validation.config // keep the last one that could be loaded
		}
		p.validation, p.costs.problems = msg.validation, nil
		if len(msg.problems) > 0 {
			p.checking = false
			return nil
		}
		// Planning takes a while, so wait until the user stops typing.
		round := p.round
		return tea.Tick(200*time.Millisecond, func(time.Time) tea.Msg { return pauseMsg{p, round} })
	case pauseMsg:
		if msg.owner != p || msg.round != p.round {
			return nil
		}
		c, env := p.validation.config, p.env
		return tea.Batch(func() tea.Msg {
			if env.Launcher == nil {
				return costsMsg{p, msg.round, estimate(env.Ctx, c, nil)}
			}
			return costsMsg{p, msg.round, estimate(env.Ctx, c, func(stages []pipeline.Estimate) error {
				return env.Launcher.Check(env.Ctx, c, stages)
			})}
		}, p.readSpeed())
	case costsMsg:
		if msg.owner == p && msg.round == p.round {
			p.costs, p.checking = msg.costs, false
		}
	case speedMsg:
		if msg.owner == p && msg.key == p.speed.key {
			p.speed = msg.speed
		}
	case startedMsg:
		if msg.owner != p {
			return nil
		}
		p.starting = false
		if msg.err != nil {
			return fail(msg.err)
		}
		message := Flash{Text: msg.text}
		if msg.warning != "" {
			message = Flash{Text: msg.warning, Bad: true}
		}
		return tea.Batch(send(message), send(Push{NewDashboard(p.env, msg.dir)}))
	case tea.PasteMsg:
		p.input.Paste(msg)
		p.name.Paste(msg)
		p.filter.Paste(msg)
		if p.input.Active() {
			return p.applyInput()
		}
	}
	return nil
}

// shown returns the settings that pass the filter.
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
	return p.base != nil && p.validation.config != nil && f.Text(p.base) != f.Text(p.validation.config)
}

// fit updates the list to the settings that are shown.
func (p *Editor) fit() { p.SetSize(p.w, p.h) }

func (p *Editor) selected() (presets.Setting, bool) {
	all := p.shown()
	if p.list.Selected >= len(all) {
		return presets.Setting{}, false
	}
	return all[p.list.Selected], true
}

func (p *Editor) edit() tea.Cmd {
	f, ok := p.selected()
	if !ok || p.validation.config == nil {
		return nil
	}
	p.previous = p.x
	p.input.Start(p.value(f))
	return nil
}

// value returns the value of a setting, or the typed text if that is not valid.
func (p *Editor) value(f presets.Setting) string {
	typed, ok := p.x.sets[f.Key]
	if !ok || p.problem(f) == "" {
		return f.Text(p.validation.config)
	}
	if text, err := strconv.Unquote(typed); err == nil {
		return text
	}
	return typed
}

// applyInput sets the selected setting to the text typed so far.
func (p *Editor) applyInput() tea.Cmd {
	f, ok := p.selected()
	if !ok {
		return nil
	}
	p.x = p.x.with(f.Key, f.Literal(p.input.Text()))
	return p.validate()
}

func (p *Editor) reset() tea.Cmd {
	f, ok := p.selected()
	if !ok {
		return nil
	}
	p.x = p.x.without(f.Key)
	return p.validate()
}

// step changes the selected setting to its next or previous value.
func (p *Editor) step(by int) tea.Cmd {
	f, ok := p.selected()
	if !ok || p.validation.config == nil {
		return nil
	}
	value, ok := valueAfter(f, f.Text(p.validation.config), by)
	if !ok {
		return nil
	}
	p.x = p.x.with(f.Key, f.Literal(value))
	return p.validate()
}

// problems returns the reasons why the experiment cannot start.
func (p *Editor) problems() presets.Problems {
	all := append(presets.Problems{}, p.validation.problems...)
	if len(all) > 0 {
		return all
	}
	return append(all, p.costs.problems...)
}

func (p *Editor) start(queue bool) tea.Cmd {
	switch {
	case p.env.Launcher == nil:
		return fail(fmt.Errorf("runs cannot be started from here"))
	case p.starting || p.validation.config == nil:
		return nil
	case p.checking:
		return flash("still checking; try again in a moment")
	}
	if rs := p.problems(); len(rs) > 0 {
		p.side = sideOverview
		return fail(fmt.Errorf("not started: %s", rs[0].String()))
	}
	p.starting = true
	c, env := p.validation.config, p.env
	return tea.Batch(flash("starting: waiting for the run's first event"), func() tea.Msg {
		dir, err := env.Launcher.Start(env.Ctx, c, queue)
		return startedMsg{p, dir, "started; it continues when you quit", env.Launcher.Warning(), err}
	})
}

func (p *Editor) canSubmit() bool { return p.env.Launcher != nil && p.env.Launcher.CanSubmit() }

// submit submits the experiment to Slurm. It does not check the resources of this machine.
func (p *Editor) submit() tea.Cmd {
	if p.starting || p.validation.config == nil {
		return nil
	}
	if len(p.validation.problems) > 0 {
		p.side = sideOverview
		return fail(fmt.Errorf("not submitted: %s", p.validation.problems[0].String()))
	}
	p.starting = true
	c, env := p.validation.config, p.env
	return tea.Batch(flash("submitting its jobs"), func() tea.Msg {
		dir, err := env.Launcher.Submit(env.Ctx, c)
		return startedMsg{p, dir, "submitted to Slurm", "", err}
	})
}

func (p *Editor) save(path string) tea.Cmd {
	x, title := p.x, p.x.base+" with changes"
	return func() tea.Msg {
		if err := x.save(path, title); err != nil {
			return Flash{Text: err.Error(), Bad: true}
		}
		return Flash{Text: "saved " + path}
	}
}

// Press handles a key.
func (p *Editor) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	switch {
	case p.input.Active():
		text := p.input.Text()
		accepted, cancelled := p.input.Press(k)
		switch {
		case cancelled:
			p.x = p.previous
			return p.validate(), true
		case !accepted && p.input.Text() != text:
			return p.applyInput(), true
		}
		return nil, true
	case p.name.Active():
		if accepted, _ := p.name.Press(k); accepted && p.name.Text() != "" {
			return p.save(p.name.Text()), true
		}
		return nil, true
	case p.filter.Active():
		p.filter.Press(k)
		p.fit()
		return nil, true
	}
	return editorKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Editor) Call(name string) (tea.Cmd, bool) { return editorKeys.Call(p, name) }

func (p *Editor) cursor() *components.List { return &p.list }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Editor) FullHelp() []keymap.Entry  { return editorKeys.Entries(p) }
func (p *Editor) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing reports whether a value, a file name or the filter is being typed.
func (p *Editor) Typing() bool { return p.input.Active() || p.name.Active() || p.filter.Active() }

// Title returns the title of the page.
func (p *Editor) Title() string {
	if n := len(p.x.sets); n > 0 {
		return fmt.Sprintf("%s, %d changed", p.x.base, n)
	}
	return p.x.base
}

// Copy returns the command that runs the experiment.
func (p *Editor) Copy() string {
	var b strings.Builder
	b.WriteString("hatchery run " + p.x.base)
	for _, set := range p.x.flags() {
		b.WriteString(" --set '" + set + "'")
	}
	return b.String()
}

// Close does nothing: the page does not follow anything.
func (p *Editor) Close() {}
