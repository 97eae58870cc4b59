package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// Attach shows a run of another process until the run ends, and returns the run's
// error, or until ctx is done, which leaves the run alone.
type Attach struct {
	RunArg
	EventsJSON
}

func (*Attach) Effect() Effect { return Looks }

func (cmd *Attach) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	err = a.attach(ctx, dir, c, cmd.JSON)
	if ctx.Err() != nil {
		id := filepath.Base(dir)
		fmt.Fprintf(a.Err, "\nleft %s, which goes on; to come back: hatchery attach %s\n", id, a.ref(dir))
		return nil
	}
	return err
}

func (a *App) attach(ctx context.Context, dir string, c *presets.Config, asJSON bool) error {
	state, follower, err := runs.Attach(ctx, dir)
	if err != nil {
		return err
	}
	h, err := a.health(ctx, dir, state)
	if err != nil {
		follower.Close()
		return err
	}
	var show viewer = newJSON(a.Out)
	if !asJSON {
		if err := a.statusText(dir, c, h); err != nil {
			follower.Close()
			return err
		}
		show = newText(a.Out, filepath.Base(dir), c)
	}
	if h.over() {
		follower.Close()
		return a.ending(dir, h.live)
	}
	if !asJSON {
		fmt.Fprintln(a.Out, "attached; Ctrl-C leaves the run running")
	}
	end := a.display(ctx, follower, state, folding(dir), show)
	live, err := a.wait(ctx, dir)
	end()
	if err != nil {
		return err
	}
	return a.ending(dir, live)
}
