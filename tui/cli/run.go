package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Run starts a new run of a preset.
type Run struct {
	PresetArg
	Start
}

func (cmd *Run) Effect() Effect { return cmd.effect() }

func (cmd *Run) Run(ctx context.Context, a *App) error {
	c, err := presets.Load(cmd.Preset, cmd.Set)
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.Check(ctx, c, a.Root); err != nil {
		return err
	}
	if cmd.Detach || cmd.Queue {
		dir, err := launch.Start(ctx, a.Root, c, cmd.Queue)
		if err != nil {
			return err
		}
		return a.printDetached(dir, cmd.Start)
	}
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, cmd.JSON)
}

// execute executes a run in this process and shows its events.
func (a *App) execute(ctx context.Context, c *presets.Config, run *runs.Run, asJSON bool) error {
	err := a.executeWith(ctx, c, run, func(*runs.State) viewer {
		if asJSON {
			return newJSON(a.Out)
		}
		return newText(a.Out, run.ID(), c)
	})
	if errors.Is(err, pipeline.ErrInterrupted) && !asJSON {
		fmt.Fprintf(a.Out, "resume with: hatchery resume %s\n", a.ref(run.Dir()))
	}
	return err
}

// executeWith executes a run in this process, shows its events with a viewer and closes it.
// newViewer gets the state of the run before execution.
func (a *App) executeWith(ctx context.Context, c *presets.Config, run *runs.Run, newViewer func(before *runs.State) viewer) error {
	state, follower, err := keepLog(ctx, run, c)
	if err != nil {
		return errors.Join(err, run.Close())
	}
	end := a.display(context.Background(), follower, state, folding(run.Dir()), newViewer(state))
	defer end()
	return launch.Execute(ctx, c, run, launch.Options{})
}

// keepLog writes the events of run to its log from now on. It returns the present state,
// and a follower that reads these events.
func keepLog(ctx context.Context, run *runs.Run, c *presets.Config) (*runs.State, *runs.Follower, error) {
	before, follower, err := runs.Attach(ctx, run.Dir())
	if err != nil {
		return nil, nil, err
	}
	state, next, log := before.Clone(), folding(run.Dir()), newLog(run.Log(), run.ID(), c)
	run.Observe(func(e runs.Event) {
		state = next(state, e)
		_ = log.event(e, state) // a write error does not stop the run
	})
	return before, follower, nil
}

// printDetached prints how to watch and stop the run in dir, which was started in a process
// of its own.
func (a *App) printDetached(dir string, flags Start) error {
	if warning := launch.LogoutWarning(); warning != "" {
		fmt.Fprintln(a.Err, "warning:", warning)
	}
	id := filepath.Base(dir)
	if flags.JSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"run": id, "dir": dir})
	}
	state := "runs in the background"
	if flags.Queue {
		state = "is queued; hatchery queue shows the order"
	}
	fmt.Fprintf(a.Out, "%s %s\nto watch it: hatchery attach %s\nto stop it: hatchery stop %s\n", id, state, a.ref(dir), a.ref(dir))
	return nil
}
