package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/engine/launch"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// Queue lists the runs that wait for this machine.
func (a *App) Queue() error {
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

// MoveInQueue moves a run in the queue and shows the new order.
func (a *App) MoveInQueue(ctx context.Context, name string, by int) error {
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
	return a.Queue()
}

// LeaveQueue takes a run out of the queue.
func (a *App) LeaveQueue(ctx context.Context, name string) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	if s, err := runs.ReadStatus(dir); err != nil || s.Phase != runs.Queued {
		return badInput{fmt.Errorf("%s does not wait in the queue", filepath.Base(dir))}
	}
	return a.control(ctx, dir, launch.Stop)
}
