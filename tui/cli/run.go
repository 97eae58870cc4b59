package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Run starts a new run of a preset in this process.
func (a *App) Run(ctx context.Context, preset string, sets []string, asJSON bool) error {
	c, err := presets.Load(preset, sets)
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.Check(ctx, c, a.Root); err != nil {
		return err
	}
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, asJSON)
}

// Resume goes on with a run that was stopped or killed.
func (a *App) Resume(ctx context.Context, name string, asJSON bool) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	if err := pipeline.Check(ctx, c, dir); err != nil {
		return err
	}
	run, err := runs.Open(dir)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, asJSON)
}

// execute runs to the end and shows what happens.
func (a *App) execute(ctx context.Context, c *presets.Config, run *runs.Run, asJSON bool) error {
	var show viewer = newText(a.Out, run, c)
	if asJSON {
		show = newJSON(a.Out)
	}
	watched := make(chan error, 1)
	following, stop := context.WithCancel(context.Background())
	defer stop()
	before, err := runs.ReadEvents(run.Dir())
	if err != nil {
		return errors.Join(err, run.Close())
	}
	go func() { watched <- watch(following, run.Dir(), len(before), show) }()

	err = errors.Join(pipeline.Execute(ctx, c, run), run.Close())
	// The last event ends the watching. It is missing only if the disk is full.
	select {
	case watchErr := <-watched:
		err = errors.Join(err, watchErr)
	case <-time.After(5 * time.Second):
		stop()
		err = errors.Join(err, <-watched)
	}
	if errors.Is(err, pipeline.ErrInterrupted) && !asJSON {
		fmt.Fprintf(a.Out, "checkpoints saved; go on with: hatchery resume %s\n", run.ID())
	}
	return err
}

// viewer shows events as they come. Old ones are from before this process.
type viewer interface {
	event(e runs.Event, state *runs.State, old bool) error
}

// watch shows the events of a run until it ends or ctx does.
func watch(ctx context.Context, dir string, old int, show viewer) error {
	var state runs.State
	n := 0
	for e, err := range runs.Follow(ctx, dir) {
		if err != nil {
			return err
		}
		state.Apply(e)
		n++
		if err := show.event(e, &state, n <= old); err != nil {
			return err
		}
		switch e.Kind {
		case runs.Done, runs.Error, runs.Interrupted:
			if n > old {
				return nil
			}
		}
	}
	return nil
}
