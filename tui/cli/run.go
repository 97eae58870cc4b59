package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Start says how a run is to be started.
type Start struct {
	Detach bool `short:"d" help:"Leave the run in a process of its own and return."`
	Queue  bool `help:"Like --detach, and begin when this machine is free."`
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
	if how.Detach || how.Queue {
		dir, err := launch.Start(ctx, a.Root, c, how.Queue)
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
	if slurm.Has(dir) {
		return a.resubmit(ctx, dir, c, how)
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err == nil && live.Alive == runs.IsRunning && live.Status.Phase == runs.Paused {
		return a.control(ctx, dir, launch.Continue)
	}
	if err := pipeline.CheckRest(ctx, c, dir); err != nil {
		return err
	}
	if how.Detach || how.Queue {
		err := launch.ResumeWatching(ctx, dir, how.Queue, a.watching)
		if errors.Is(err, runs.ErrLocked) {
			return badInput{err}
		}
		return a.detached(dir, err, how)
	}
	if err := pipeline.CheckResume(ctx, c, dir); err != nil {
		return err
	}
	run, err := launch.OpenWatching(ctx, dir, a.watching)
	if err != nil {
		return badInput{err}
	}
	return a.execute(ctx, c, run, how)
}

// watching says why it takes a while to take a run over.
func (a *App) watching(earlier runs.Status) {
	fmt.Fprintf(a.Err, "process %d on %s said no last word: watching for its heartbeat\n", earlier.PID, earlier.Host)
}

// execute runs to the end in this process and shows what happens.
func (a *App) execute(ctx context.Context, c *presets.Config, run *runs.Run, how Start) error {
	var show viewer = newText(a.Out, run.ID(), c)
	if how.JSON {
		show = newJSON(a.Out)
	}
	err := executeFor(ctx, c, run, show)
	if errors.Is(err, pipeline.ErrInterrupted) && !how.JSON {
		fmt.Fprintf(a.Out, "go on with: hatchery resume %s\n", run.ID())
	}
	return err
}

// executeFor runs to the end in this process with a viewer, and closes run.
func executeFor(ctx context.Context, c *presets.Config, run *runs.Run, show viewer) error {
	before, err := keepLog(run, c)
	if err != nil {
		return errors.Join(err, run.Close())
	}
	watched := make(chan error, 1)
	following, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { watched <- follow(following, run.Dir(), before, show) }()

	err = launch.Execute(ctx, c, run, launch.Options{})
	// The last event ends the watching. It is missing only if the disk is full.
	select {
	case watchErr := <-watched:
		err = errors.Join(err, watchErr)
	case <-time.After(lastEventWithin):
		stop()
		err = errors.Join(err, <-watched)
	}
	return err
}

// keepLog has what happens in run written to its log, and returns how many
// events there were before.
func keepLog(run *runs.Run, c *presets.Config) (before int, err error) {
	events, err := runs.ReadEvents(run.Dir())
	if err != nil {
		return 0, err
	}
	state, log := runs.Fold(events), newLog(run.Log(), run.ID(), c)
	run.Observe(func(e runs.Event) {
		state.Apply(e)
		log.event(e, state, false) // a log that cannot be written does not stop the run
	})
	return len(events), nil
}

// lastEventWithin is how long viewers wait for the last event of a run that
// has ended.
const lastEventWithin = 5 * time.Second

// viewer shows events as they come. Old ones are from before it began.
type viewer interface {
	event(e runs.Event, state *runs.State, old bool) error
}

// follow shows the events of a run until it ends or ctx does.
func follow(ctx context.Context, dir string, old int, show viewer) error {
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
			// Of a stage with a process of its own only the last Done ends the run.
			if n > old && (e.Attempt == 0 || e.Kind == runs.Done) {
				return nil
			}
		}
	}
	return nil
}
