package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// Attach shows a run of another process until the run ends, and returns the run's error.
// If ctx is done first, it returns nil, and the run continues.
type Attach struct {
	RunArg
	EventsJSON
}

func (*Attach) Effect() Effect { return Reads }

func (cmd *Attach) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	err = a.attach(ctx, dir, c, cmd.JSON)
	if ctx.Err() != nil {
		id := filepath.Base(dir)
		fmt.Fprintf(a.Err, "\ndetached from %s, which continues; to attach again: hatchery attach %s\n", id, a.ref(dir))
		return nil //nolint:nilerr // detaching is not a failure
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
	if h.ended() {
		follower.Close()
		return a.endError(dir, h.live)
	}
	if !asJSON {
		fmt.Fprintln(a.Out, "attached; Ctrl-C detaches, and the run continues")
	}
	end := a.display(ctx, follower, state, folding(dir), show)
	live, err := a.wait(ctx, dir)
	end()
	if err != nil {
		return err
	}
	return a.endError(dir, live)
}
