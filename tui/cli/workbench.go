package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/study"
	"hatchery/presets"
	"hatchery/tui"
	"hatchery/tui/pages"
)

// Workbench opens the terminal interface, at the dashboard of a run if one is named,
// otherwise at the presets.
type Workbench struct {
	Name  string `arg:"" name:"run" optional:"" help:"A run to show: its name, the beginning of one, or its folder."`
	ASCII bool   `name:"ascii" help:"Draw with ASCII characters only."`
	Theme string `placeholder:"light|dark" help:"Colours for a light or a dark background; without it, the terminal's background is detected."`
	Plain bool   `help:"Read and write lines of text instead of drawing a screen, for screen readers."`
}

func (*Workbench) Effect() Effect { return Acts }

func (cmd *Workbench) Run(ctx context.Context, a *App) error {
	open := ""
	if cmd.Name != "" {
		var err error
		if open, err = a.findRun(cmd.Name); err != nil {
			return badInput{fmt.Errorf("%q is not a command, and %w", cmd.Name, err)} // `hatchery NAME` comes here too
		}
	}
	if cmd.Theme != "" && cmd.Theme != "light" && cmd.Theme != "dark" {
		return badInput{fmt.Errorf("--theme %s: choose light or dark", cmd.Theme)}
	}
	if terminalWidth(a.Out) == 0 && !cmd.Plain {
		return badInput{fmt.Errorf("the workbench needs a terminal; `hatchery --help` lists the commands for scripts, and `hatchery tui --plain` reads and writes lines")}
	}
	return tui.Run(ctx, tui.Options{
		Root: a.Root, Open: open, Launcher: launcher{a.Root}, In: os.Stdin, Out: printable.Raw(a.Out), Env: os.Environ(),
		ASCII: cmd.ASCII, Theme: cmd.Theme, Plain: cmd.Plain,
	})
}

// launcher implements pages.Launcher.
type launcher struct{ root string }

// Start starts a run. ctx does not cancel it: if the user quits the workbench while a run
// is starting, the run still starts.
func (l launcher) Start(ctx context.Context, c *presets.Config, queue bool) (string, error) {
	return launch.Start(context.WithoutCancel(ctx), l.root, c, queue)
}

func (l launcher) CanSubmit() bool { return slurm.Available() == nil }

func (l launcher) Submit(ctx context.Context, c *presets.Config) (string, error) {
	ctx = context.WithoutCancel(ctx)
	if err := pipeline.CheckRemote(ctx, c); err != nil {
		return "", err
	}
	return slurm.Start(ctx, l.root, c)
}

// resubmit submits the stages of a submitted run that are neither done nor in the queue.
func resubmit(ctx context.Context, dir string) error {
	c, err := configOf(dir)
	if err != nil {
		return err
	}
	stages, err := slurm.Resume(ctx, dir, c)
	if err == nil && len(stages) == 0 {
		err = errors.New("nothing to submit: every stage is done or in the queue")
	}
	return err
}

func (l launcher) Resume(ctx context.Context, dir string) error {
	if slurm.Submitted(dir) {
		return resubmit(context.WithoutCancel(ctx), dir)
	}
	return launch.Resume(context.WithoutCancel(ctx), dir, false)
}

func (l launcher) Warning() string { return launch.LogoutWarning() }

func (l launcher) Queued(context.Context) ([]string, error) { return launch.Queued(l.root) }

func (l launcher) MoveQueued(ctx context.Context, id string, by int) error {
	return launch.MoveQueued(ctx, l.root, id, by)
}

func (l launcher) Check(ctx context.Context, c *presets.Config, stages []pipeline.Estimate) error {
	return pipeline.CheckPlan(ctx, c, stages, l.root)
}

func (l launcher) StartStudy(ctx context.Context, d *presets.Study, small bool) (string, error) {
	ctx = context.WithoutCancel(ctx)
	s, err := study.Create(ctx, l.root, d, study.Options{Small: small})
	if err != nil {
		return "", err
	}
	return s.ID, s.Detach(ctx)
}

func (l launcher) ResumeStudy(ctx context.Context, id string) error {
	s, err := study.Open(l.root, id)
	if err != nil {
		return err
	}
	return s.Detach(context.WithoutCancel(ctx))
}

func (l launcher) StopStudy(ctx context.Context, id string) error {
	s, err := study.Open(l.root, id)
	if err != nil {
		return err
	}
	return s.Stop(ctx)
}

func (l launcher) Control(ctx context.Context, dir string, c pages.Control) (string, error) {
	if slurm.Submitted(dir) {
		return controlJobs(ctx, dir, c)
	}
	var reply launch.Reply
	var err error
	switch c {
	case pages.StopAfterEpoch:
		reply, err = launch.StopAfterEpoch(ctx, dir, nil)
	case pages.StopNow:
		reply, err = launch.Stop(ctx, dir)
	case pages.Pause:
		reply, err = launch.Pause(ctx, dir)
	case pages.Continue:
		reply, err = launch.Continue(ctx, dir)
	case pages.Kill:
		return "killed; it can be resumed from its last checkpoint", launch.Kill(ctx, dir)
	default:
		return "", fmt.Errorf("unknown request: %q", c)
	}
	return reply.Message, err
}

// controlJobs controls a run that was submitted to Slurm.
func controlJobs(ctx context.Context, dir string, c pages.Control) (string, error) {
	switch c {
	case pages.StopNow:
		return "stopped; its jobs are no longer in the queue", slurm.Stop(ctx, dir, nil)
	case pages.Kill:
		return "killed; it can be resumed from its last checkpoints", slurm.Kill(ctx, dir)
	}
	return "", fmt.Errorf("a run that was submitted to Slurm can only be stopped or killed")
}
