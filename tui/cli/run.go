package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Start says how a run is to be started.
type Start struct {
	Detach bool `short:"d" help:"Leave the run in a process of its own and return."`
	JSON   bool `help:"Write events as JSON, one a line."`
}

// Run starts a new run of a preset.
func (a *App) Run(ctx context.Context, preset string, sets []string, how Start) error {
	c, err := presets.Load(preset, sets)
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.Check(ctx, c, a.Root); err != nil {
		return err
	}
	if how.Detach {
		dir, err := launch.Start(ctx, a.Root, c)
		return a.detached(dir, err, how)
	}
	run, err := runs.Create(a.Root, runs.NewID(c.Name, time.Now()), c.TOML())
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, how)
}

// Resume goes on with a run that was stopped, killed or paused.
func (a *App) Resume(ctx context.Context, name string, how Start) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err == nil && live.Alive == runs.IsRunning && live.Status.Phase == runs.Paused {
		return a.control(ctx, dir, launch.Continue)
	}
	if err := pipeline.Check(ctx, c, dir); err != nil {
		return err
	}
	if how.Detach {
		err := launch.Resume(ctx, dir)
		if errors.Is(err, runs.ErrLocked) {
			return badInput{err}
		}
		return a.detached(dir, err, how)
	}
	run, err := runs.Open(dir)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, how)
}

// execute runs to the end in this process and shows what happens.
func (a *App) execute(ctx context.Context, c *presets.Config, run *runs.Run, how Start) error {
	// Not run.Log, which is closed when the last events are shown.
	log, err := os.OpenFile(runs.LogPath(run.Dir()), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return errors.Join(err, run.Close())
	}
	defer log.Close()
	show := []viewer{newLog(log, run.ID(), c, true)}
	if how.JSON {
		show = append(show, newJSON(a.Out))
	} else {
		show = append(show, newText(a.Out, run.ID(), c))
	}
	err = a.watched(ctx, c, run, nil, show...)
	if errors.Is(err, pipeline.ErrInterrupted) && !how.JSON {
		fmt.Fprintf(a.Out, "go on with: hatchery resume %s\n", run.ID())
	}
	return err
}

// watched executes run while viewers show its events.
func (a *App) watched(ctx context.Context, c *presets.Config, run *runs.Run, started func(), show ...viewer) error {
	watched := make(chan error, 1)
	following, stop := context.WithCancel(context.Background())
	defer stop()
	before, err := runs.ReadEvents(run.Dir())
	if err != nil {
		return errors.Join(err, run.Close())
	}
	go func() { watched <- watch(following, run.Dir(), len(before), show...) }()

	err = launch.Execute(ctx, c, run, started)
	// The last event ends the watching. It is missing only if the disk is full.
	select {
	case watchErr := <-watched:
		return errors.Join(err, watchErr)
	case <-time.After(lastEventWithin):
		stop()
		return errors.Join(err, <-watched)
	}
}

// lastEventWithin is how long viewers wait for the last event of a run that
// has ended.
const lastEventWithin = 5 * time.Second

// viewer shows events as they come. Old ones are from before it began.
type viewer interface {
	event(e runs.Event, state *runs.State, old bool) error
}

// watch shows the events of a run until it ends or ctx does.
func watch(ctx context.Context, dir string, old int, show ...viewer) error {
	var state runs.State
	n := 0
	for e, err := range runs.Follow(ctx, dir) {
		if err != nil {
			return err
		}
		state.Apply(e)
		n++
		for _, v := range show {
			if err := v.event(e, &state, n <= old); err != nil {
				return err
			}
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
