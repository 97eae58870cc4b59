package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"hatchery/engine/cuda"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Stage executes stages of a run in this process, one after another, while other
// processes may execute others. One that is done already is passed over.
type Stage struct {
	RunArg
	Stages []string `arg:"" name:"stage" help:"Stages to execute, one after another: meta, module-1, assemble, ..."`
	Wait   bool     `help:"Wait for what a stage needs, and for a process that executes it already."`
	Slurm  bool     `help:"As a job of Slurm's, which is started again when its time is up or its node is taken away."`
	EventsJSON
}

func (cmd *Stage) Effect() Effect {
	if cmd.Slurm {
		return TrainsAsJob
	}
	return Trains
}

func (cmd *Stage) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	if cmd.Slurm && c.Run.Threads == 0 {
		c.Run.Threads = slurm.Threads()
	}
	if cmd.Slurm && c.Run.Device == "auto" && !slurm.HasGPUs() {
		c.Run.Device = "cpu" // a GPU that is to be seen may be another job's
		if n, _ := cuda.Count(); n > 0 {
			fmt.Fprintln(a.Err, "Slurm gave this job none of the node's GPUs, so it computes on the CPU: ask for one with --gres=gpu:1, or set run.device = \"cuda\" where GPUs come with their nodes")
		}
	}
	var all []method.Stage
	for _, stage := range cmd.Stages {
		s, err := pipeline.FindStage(c, stage)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	for _, s := range all {
		again, err := a.stage(ctx, dir, c, s, cmd)
		if again || err != nil {
			return err
		}
	}
	return nil
}

// stage executes a stage unless it is done, and says whether its job will be
// started again.
func (a *App) stage(ctx context.Context, dir string, c *presets.Config, s method.Stage, how *Stage) (again bool, err error) {
	done, run, err := a.claim(ctx, dir, c, s, how)
	if done && !how.JSON {
		fmt.Fprintf(a.Out, "stage %s is done\n", s.Name)
	}
	if done {
		return false, nil
	}
	if s := (Signalled{}); err != nil && how.Slurm && errors.As(context.Cause(ctx), &s) && s.Signal == syscall.SIGUSR1 {
		return true, slurm.Requeue(context.Background()) // its time is up before it could begin
	}
	if err != nil {
		return false, err
	}
	follower, err := run.Follow()
	if err != nil {
		return false, errors.Join(err, run.Close())
	}
	// The state that is shown has only this stage, and at the run's end all stages.
	fold := folding(dir)
	next := func(s *runs.State, e runs.Event) *runs.State {
		if e.Kind == runs.Done {
			if all, err := runs.ReadState(ctx, dir); err == nil {
				return all
			}
		}
		return fold(s, e)
	}
	log, state := newLog(run.Log(), run.ID(), c), runs.Fold(nil)
	run.Observe(func(e runs.Event) {
		state = next(state, e)
		log.event(e, state)
	})
	var show viewer = newText(a.Out, run.ID(), c)
	if how.JSON {
		show = newJSON(a.Out)
	}
	end := a.display(context.Background(), follower, runs.Fold(nil), next, show)
	defer end()
	again, err = executeStage(ctx, c, run, s, how)
	return again, errors.Join(err, run.Close())
}

// inputsWithin is how long a job waits for inputs that Slurm says are there: a
// network's file system may not show at once what another node has written.
const inputsWithin = 2 * time.Minute

// maxFruitless is how often a job is started again for a stage that gets nowhere.
const maxFruitless = 5

// claim takes a stage, once it can begin, unless it is done.
func (a *App) claim(ctx context.Context, dir string, c *presets.Config, s method.Stage, how *Stage) (done bool, run *runs.Run, err error) {
	watched := 0
	claim := runs.Claim{Watch: func(earlier runs.Status) {
		if earlier.Attempt == watched {
			return
		}
		watched = earlier.Attempt
		fmt.Fprintf(a.Err, "attempt %d at stage %s, process %d on %s, may still be executing it: waiting a few seconds for its heartbeat\n", earlier.Attempt, s.Name, earlier.PID, earlier.Host)
	}}
	if how.Slurm {
		claim.Job = slurm.JobID()
	}
	deadline := time.Now().Add(inputsWithin)
	waiting := false
	for {
		if done, err = pipeline.Ready(c, dir, s); done {
			return true, nil, nil
		}
		if err == nil {
			err = pipeline.CheckStage(ctx, c, dir, s)
		}
		if err == nil {
			if run, err = runs.OpenStage(ctx, dir, s.Name, claim); err == nil {
				return false, run, fruitless(run, dir, s, claim)
			}
		}
		if errors.Is(err, runs.ErrDone) {
			continue // by another, since it was looked
		}
		if how.Slurm && errors.As(err, new(*pipeline.Invalid)) {
			return false, nil, refused(ctx, dir, s, claim, err)
		}
		notReady, taken := errors.As(err, new(*pipeline.NotReady)), errors.Is(err, runs.ErrTaken)
		switch {
		case !notReady && !taken:
			return false, nil, err
		case !how.Wait && !(how.Slurm && notReady && time.Now().Before(deadline)):
			return false, nil, badInput{err}
		case !waiting:
			fmt.Fprintf(a.Err, "waiting: %v\n", err)
			waiting = true
		}
		select {
		case <-ctx.Done():
			return false, nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// refused writes into the run why a job cannot begin a stage. Nobody sees the output of
// a job, but wait and status show the run's events.
func refused(ctx context.Context, dir string, s method.Stage, claim runs.Claim, err error) error {
	run, openErr := runs.OpenStage(ctx, dir, s.Name, claim)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	return errors.Join(err, fail(run, err))
}

// fail writes into the run why a stage has failed, and closes it.
func fail(run *runs.Run, err error) error {
	return errors.Join(run.Emit(runs.Event{Kind: runs.Error, Message: err.Error()}), run.Finish(runs.Failed, err.Error()), run.Close())
}

// fruitless refuses to go on with a stage that a job was started for again and
// again, without getting any further. It closes run then.
func fruitless(run *runs.Run, dir string, s method.Stage, claim runs.Claim) error {
	if claim.Job == "" {
		return nil
	}
	n, err := runs.FruitlessAttempts(dir, s.Name, claim.Job) // with this one
	if err == nil && n <= maxFruitless {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("stage %s got no further in %d attempts: give its jobs more time, see their output in %s, and go on with: hatchery resume %s",
			s.Name, maxFruitless, filepath.Join(dir, "attempts"), printable.Word(dir))
	}
	return errors.Join(err, fail(run, err))
}

// executeStage executes a stage in the attempt that run is, and writes why it
// ends if it is made to end.
func executeStage(ctx context.Context, c *presets.Config, run *runs.Run, s method.Stage, how *Stage) (again bool, err error) {
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-run.Lost():
			stop(run.LostCause())
		case <-working.Done():
		}
	}()
	err = pipeline.ExecuteStage(working, c, run, s)
	cause := context.Cause(working)
	stop(nil)
	<-watched
	if !errors.Is(err, pipeline.ErrInterrupted) {
		return false, err
	}
	if lost := run.LostCause(); lost != nil {
		cause = lost // it now also says what was saved last
	}
	if errors.Is(cause, runs.ErrSuperseded) || errors.Is(cause, runs.ErrFolderLost) {
		return false, errors.Join(cause, run.Finish(runs.Stopped, cause.Error()))
	}
	if how.Slurm {
		return leave(run, cause)
	}
	return false, errors.Join(err, interrupted(run, "stopped on request; every finished step is in a checkpoint"))
}

// leave ends a job's process that was told to end: so that Slurm starts it
// again, unless somebody wants it to stop.
func leave(run *runs.Run, cause error) (again bool, err error) {
	ctx := context.Background()
	var s Signalled
	errors.As(cause, &s)
	fate, why := slurm.Continues, "its time is nearly up"
	switch s.Signal {
	case syscall.SIGUSR1:
	case syscall.SIGTERM:
		why = "its node is taken away"
		if fate, err = slurm.AfterSignal(ctx); err != nil {
			return false, errors.Join(pipeline.ErrInterrupted, err, interrupted(run, "ended by Slurm"))
		}
	default:
		fate, why = slurm.Ends, "stopped on request"
	}
	if fate == slurm.Ends {
		return false, errors.Join(pipeline.ErrInterrupted, interrupted(run, why+"; every finished step is in a checkpoint"))
	}
	// This process may not live longer than the request to start another.
	message := why + ": the job is started again"
	err = errors.Join(run.Emit(runs.Event{Kind: runs.Requeued, Message: message}), run.Finish(runs.Waiting, message))
	if err == nil && fate == slurm.Continues {
		if err = slurm.Requeue(ctx); err != nil {
			err = errors.Join(pipeline.ErrInterrupted, err, interrupted(run, fmt.Sprintf("%s, and the job cannot be started again: %v", why, err)))
		}
	}
	return err == nil, err
}

func interrupted(run *runs.Run, message string) error {
	return errors.Join(run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message))
}
