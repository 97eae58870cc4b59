// Package pages holds the screens of the workbench. A page changes only when it gets a
// message or a key. Everything that takes time or accesses files is a command, which does
// not change the page but returns a message to it.
package pages

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/pipeline"
	"hatchery/presets"
	"hatchery/tui/keymap"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// Page is a screen.
type Page interface {
	Init() tea.Cmd
	Update(tea.Msg) tea.Cmd // handles all messages except keys
	View() string           // draws exactly the given size; does not change the page
	SetSize(width, height int)
	Title() string

	// Press handles a key. It returns false if the key has no effect on the page.
	Press(tea.KeyPressMsg) (tea.Cmd, bool)
	// Call performs the named action. It returns false if the page has no such action.
	Call(name string) (tea.Cmd, bool)
	ShortHelp() []keymap.Entry
	FullHelp() []keymap.Entry

	// Typing reports whether keys are text at present.
	Typing() bool
	// Copy returns the text for the clipboard.
	Copy() string
	// Close stops reading files. The page is not used afterwards.
	Close()
}

// Env is shared by all pages.
type Env struct {
	Ctx      context.Context
	Theme    *theme.Theme
	Root     string // folder of runs
	Launcher Launcher
	Scanner  *watch.Scanner
	Speed    func(*presets.Config) (pipeline.Speed, bool) // of the experiment's device
	Now      func() time.Time
	Every    time.Duration // least time between two redraws of a run
}

// Control is a request to a run.
type Control string

// The requests. Stopped and killed runs can be resumed.
const (
	StopAfterEpoch Control = "stop after this epoch"
	StopNow        Control = "stop now"
	Kill           Control = "kill"
	Pause          Control = "pause"
	Continue       Control = "continue"
)

// Launcher starts and controls runs. Its methods may block for a while.
type Launcher interface {
	// Start starts a run in a process of its own and returns its folder. If queue is set,
	// the run starts when this machine is free.
	Start(ctx context.Context, c *presets.Config, queue bool) (dir string, err error)
	// Submit submits a run to Slurm and returns its folder. CanSubmit reports whether this
	// machine has Slurm.
	Submit(ctx context.Context, c *presets.Config) (dir string, err error)
	CanSubmit() bool
	Resume(ctx context.Context, dir string) error
	// Warning returns a warning if something, such as logging out, will end runs that are
	// started here, otherwise "".
	Warning() string
	// Queued returns the ids of the runs in the queue, the next one first.
	Queued(ctx context.Context) ([]string, error)
	// MoveQueued moves a run in the queue back by the given number of positions, or
	// forward if it is negative.
	MoveQueued(ctx context.Context, id string, by int) error
	// Control sends a request to a run, waits until it is carried out, and returns the
	// reply.
	Control(ctx context.Context, dir string, c Control) (reply string, err error)
	// StartStudy starts a study, or its variant for a small machine, in a process of its
	// own and returns its id under the root.
	StartStudy(ctx context.Context, d *presets.Study, small bool) (id string, err error)
	ResumeStudy(ctx context.Context, id string) error
	// StopStudy stops a study and returns when the checkpoint of its present cell is saved.
	StopStudy(ctx context.Context, id string) error
	// Check returns all reasons why a run cannot start on this machine. stages is its plan;
	// if it is nil, Check plans the run.
	Check(ctx context.Context, c *presets.Config, stages []pipeline.Estimate) error
}

// Push is a message that opens a page on top of the present one.
type Push struct{ Page Page }

// Back is a message that closes the page.
type Back struct{}

// Flash is a message that shows a text at the bottom of the screen.
type Flash struct {
	Text string
	Bad  bool // an error or a warning
}

// Ask is a message that asks a yes-or-no question. Yes is executed after a yes.
type Ask struct {
	Text string
	Yes  tea.Cmd
}

func send(m tea.Msg) tea.Cmd { return func() tea.Msg { return m } }

func flash(text string) tea.Cmd { return send(Flash{Text: text}) }

func fail(err error) tea.Cmd { return send(Flash{Text: err.Error(), Bad: true}) }

// Sections returns the keys of all pages.
func Sections() []keymap.Section {
	return []keymap.Section{
		{Title: "Presets", Entries: presetsKeys.All()},
		{Title: "Experiment", Entries: editorKeys.All()},
		{Title: "Run", Entries: dashboardKeys.All()},
		{Title: "Runs", Entries: runsKeys.All()},
		{Title: "Studies", Entries: studiesKeys.All()},
		{Title: "Study", Entries: studyKeys.All()},
		{Title: "Compare", Entries: compareKeys.All()},
		{Title: "Log", Entries: logKeys.All()},
	}
}
