package tui

import (
	"context"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/presets"
	"hatchery/tui/pages"
)

// Local starts and controls runs on this machine.
type Local struct{ Root string } // folder of runs

var _ pages.Launcher = Local{}

// Start begins a run as a process of its own. Once begun it is not called off:
// who leaves the workbench while a run is starting wants it all the same.
func (l Local) Start(ctx context.Context, c *presets.Config, queue bool) (dir string, err error) {
	return launch.Start(context.WithoutCancel(ctx), l.Root, c, queue)
}

// Resume starts a process that goes on with a run.
func (l Local) Resume(ctx context.Context, dir string) error {
	return launch.Resume(context.WithoutCancel(ctx), dir, false)
}

// Warning says what will end runs that are started here.
func (l Local) Warning() string { return launch.LogoutWarning() }

// Queued lists the ids of the runs that wait, the next first.
func (l Local) Queued(context.Context) ([]string, error) { return launch.Queued(l.Root) }

// MoveQueued moves one of them so many places back, or forwards.
func (l Local) MoveQueued(_ context.Context, id string, by int) error {
	return launch.MoveQueued(l.Root, id, by)
}

// Check finds everything that speaks against starting a run here.
func (l Local) Check(ctx context.Context, c *presets.Config) error {
	return pipeline.Check(ctx, c, l.Root)
}

// Control asks something of a run and returns its answer.
func (l Local) Control(ctx context.Context, dir string, c pages.Control) (answer string, err error) {
	var r launch.Reply
	switch c {
	case pages.StopEpoch:
		r, err = launch.StopAfterEpoch(ctx, dir, nil)
	case pages.StopNow:
		r, err = launch.Stop(ctx, dir)
	case pages.Pause:
		r, err = launch.Pause(ctx, dir)
	case pages.Continue:
		r, err = launch.Continue(ctx, dir)
	case pages.Kill:
		return "killed; it can be resumed from its last checkpoint", launch.Kill(ctx, dir)
	}
	return r.Message, err
}
