package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/engine/launch"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// Queue are the commands about the runs that wait for this machine.
type Queue struct {
	List   QueueList   `cmd:"" default:"1" hidden:"" help:"List the queue."`
	Up     QueueUp     `cmd:"" help:"Let a run begin before the one in front of it."`
	Down   QueueDown   `cmd:"" help:"Let the one behind a run begin before it."`
	Remove QueueRemove `cmd:"" help:"Take a run out of the queue; resume puts it back."`
}

// QueueList lists the queue.
type QueueList struct{}

func (*QueueList) Effect() Effect { return Looks }

func (*QueueList) Run(_ context.Context, a *App) error { return a.listQueue() }

func (a *App) listQueue() error {
	ids, err := launch.Queued(a.Root)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		fmt.Fprintln(a.Out, "no run waits; to let one wait: hatchery run --queue PRESET")
	}
	for i, id := range ids {
		fmt.Fprintf(a.Out, "%d  %s\n", i+1, printable.Line(id))
	}
	return nil
}

// QueueUp lets a run begin before the one in front of it.
type QueueUp struct{ RunArg }

func (*QueueUp) Effect() Effect { return Acts }

func (cmd *QueueUp) Run(ctx context.Context, a *App) error { return a.moveInQueue(ctx, cmd.Name, -1) }

// QueueDown lets the one behind a run begin before it.
type QueueDown struct{ RunArg }

func (*QueueDown) Effect() Effect { return Acts }

func (cmd *QueueDown) Run(ctx context.Context, a *App) error { return a.moveInQueue(ctx, cmd.Name, 1) }

// moveInQueue moves a run in the queue and shows the new order.
func (a *App) moveInQueue(ctx context.Context, name string, by int) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	if err := launch.MoveQueued(ctx, filepath.Dir(dir), filepath.Base(dir), by); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return badInput{err}
	}
	return a.listQueue()
}

// QueueRemove takes a run out of the queue.
type QueueRemove struct{ RunArg }

func (*QueueRemove) Effect() Effect { return Acts }

func (cmd *QueueRemove) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	if s, err := runs.ReadStatus(dir); err != nil || s.Phase != runs.Queued {
		return badInput{fmt.Errorf("%s does not wait in the queue", filepath.Base(dir))}
	}
	return a.control(ctx, dir, launch.Stop)
}
