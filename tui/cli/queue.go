package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/engine/launch"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// Queue holds the commands on the runs that wait for this machine.
type Queue struct {
	List   QueueList   `cmd:"" default:"1" hidden:"" help:"List the queue."`
	Up     QueueUp     `cmd:"" help:"Move a run one position up."`
	Down   QueueDown   `cmd:"" help:"Move a run one position down."`
	Remove QueueRemove `cmd:"" help:"Take a run out of the queue; resume --queue puts it back."`
}

// QueueList lists the queue.
type QueueList struct{}

func (*QueueList) Effect() Effect { return Reads }

func (*QueueList) Run(_ context.Context, a *App) error { return a.listQueue() }

func (a *App) listQueue() error {
	ids, err := launch.Queued(a.Root)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		fmt.Fprintln(a.Out, "no run is waiting; to add one: hatchery run --queue PRESET")
	}
	for i, id := range ids {
		fmt.Fprintf(a.Out, "%d  %s\n", i+1, printable.Line(id))
	}
	return nil
}

// QueueUp moves a run one position up in the queue.
type QueueUp struct{ RunArg }

func (*QueueUp) Effect() Effect { return Acts }

func (cmd *QueueUp) Run(ctx context.Context, a *App) error { return a.moveInQueue(ctx, cmd.Name, -1) }

// QueueDown moves a run one position down in the queue.
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
		return badInput{fmt.Errorf("%s is not in the queue", filepath.Base(dir))}
	}
	if _, err := launch.Stop(ctx, dir); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "removed from the queue\nto queue it again: hatchery resume --queue %s\n", a.ref(dir))
	return nil
}
