// Package pages holds the screens of the workbench. A page changes only when it
// gets a message or a key; what takes time or touches files is a command, which
// changes nothing and whose message comes back to the page.
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
	Update(tea.Msg) tea.Cmd // everything but keys
	View() string           // exactly of the size given; changes nothing
	SetSize(width, height int)
	Title() string

	// Press does what a key does; it returns false if that is nothing here.
	Press(tea.KeyPressMsg) (tea.Cmd, bool)
	// Call does the action of a name.
	Call(name string) (tea.Cmd, bool)
	ShortHelp() []keymap.Entry
	FullHelp() []keymap.Entry

	// Typing says that keys are text for now.
	Typing() bool
	// Copy is what the key for it puts on the clipboard.
	Copy() string
	// Close ends what the page follows. It is not used afterwards.
	Close()
}

// Env is what pages share.
type Env struct {
	Ctx      context.Context
	Theme    *theme.Theme
	Root     string // folder of runs
	Launcher Launcher
	Scanner  *watch.Scanner
	Speed    func(*presets.Config) (pipeline.Speed, bool) // of the device an experiment asks for
	Now      func() time.Time
	Every    time.Duration // least time between two redraws of a run
}

// Control is what a run can be asked to do.
type Control string

// The ways to control a run. Stopped runs can be resumed.
const (
	StopAfterEpoch Control = "stop after this epoch"
	StopNow        Control = "stop now"
	Kill           Control = "kill"
	Pause          Control = "pause"
	Continue       Control = "continue"
)

// Launcher starts and controls runs. Its methods may take a while.
type Launcher interface {
	// Start begins a run as a process of its own and returns its folder. With
	// queue it begins when this machine is free.
	Start(ctx context.Context, c *presets.Config, queue bool) (dir string, err error)
	// Submit hands a run to Slurm and returns its folder; Submits says whether
	// this machine can.
	Submit(ctx context.Context, c *presets.Config) (dir string, err error)
	Submits() bool
	Resume(ctx context.Context, dir string) error
	// Warning says what will end runs that are started here, "" for nothing.
	Warning() string
	// Queued lists the ids of the runs that wait, the next first.
	Queued(ctx context.Context) ([]string, error)
	// MoveQueued moves one of them so many places back, or forwards.
	MoveQueued(ctx context.Context, id string, by int) error
	// Control returns what the run answers, once it is done.
	Control(ctx context.Context, dir string, c Control) (answer string, err error)
	// StartStudy begins a study, or its variant for a small machine, as a process
	// of its own and returns its id under the root.
	StartStudy(ctx context.Context, d *presets.Study, small bool) (id string, err error)
	ResumeStudy(ctx context.Context, id string) error
	// StopStudy returns once the checkpoint of the present cell is saved.
	StopStudy(ctx context.Context, id string) error
	// Check returns everything that speaks against starting a run here. stages are its
	// plan, or nil to have it planned.
	Check(ctx context.Context, c *presets.Config, stages []pipeline.Estimate) error
}

// Push is a message that opens a page above the present one.
type Push struct{ Page Page }

// Back closes the page.
type Back struct{}

// Flash is a message for the bottom of the screen.
type Flash struct {
	Text string
	Bad  bool
}

// Ask is a question that is answered with yes or no.
type Ask struct {
	Text string
	Yes  tea.Cmd
}

func send(m tea.Msg) tea.Cmd { return func() tea.Msg { return m } }

func flash(text string) tea.Cmd { return send(Flash{Text: text}) }

func fail(err error) tea.Cmd { return send(Flash{Text: err.Error(), Bad: true}) }

// Sections documents the keys of all pages.
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
