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

// Stage executes stages of a run in this process, one after another. Other processes may
// execute other stages at the same time. It skips stages that are done.
type Stage struct {
	RunArg
	Stages []string `arg:"" name:"stage" help:"Stages to execute, in this order: meta, module-1, assemble, ..."`
	Wait   bool     `help:"Wait for the stages that a stage needs, and for a process that already executes it."`
	Slurm  bool     `help:"Run as a Slurm job, which is requeued when its time is up or its node is taken away."`
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
		c.Run.Device = "cpu" // a visible GPU may belong to another job
		if n, _ := cuda.Count(); n > 0 {
			fmt.Fprintln(a.Err, "Slurm gave this job none of the node's GPUs, so it trains on the CPU: request one with --gres=gpu:1, or set run.device = \"cuda\" if jobs get their nodes with all GPUs")
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
		requeued, err := a.stage(ctx, dir, c, s, cmd)
		if requeued || err != nil {
			return err
		}
	}
	return nil
}

// stage executes a stage unless it is done. It reports whether its job was requeued.
func (a *App) stage(ctx context.Context, dir string, c *presets.Config, s method.Stage, cmd *Stage) (requeued bool, err error) {
	done, run, err := a.claim(ctx, dir, c, s, cmd)
	if done && !cmd.JSON {
		fmt.Fprintf(a.Out, "stage %s is done\n", s.Name)
	}
	if done {
		return false, nil
	}
	if s := (Signalled{}); err != nil && cmd.Slurm && errors.As(context.Cause(ctx), &s) && s.Signal == syscall.SIGUSR1 {
		return true, slurm.Requeue(context.Background()) // the time of the job is up before the stage could start
	}
	if err != nil {
		return false, err
	}
	follower, err := run.Follow()
	if err != nil {
		return false, errors.Join(err, run.Close())
	}
	// The state has only this stage; at the end of the run it has all stages.
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
		_ = log.event(e, state) // a write error does not stop the stage
	})
	var show viewer = newText(a.Out, run.ID(), c)
	if cmd.JSON {
		show = newJSON(a.Out)
	}
	end := a.display(context.Background(), follower, runs.Fold(nil), next, show)
	defer end()
	requeued, err = executeStage(ctx, c, run, s, cmd)
	return requeued, errors.Join(err, run.Close())
}

// inputTimeout is how long a job waits for inputs that exist according to Slurm. A network
// file system may not show at once what another node has written.
const inputTimeout = 2 * time.Minute

// maxFruitless is how often a job is requeued for a stage that makes no progress.
const maxFruitless = 5

// claim waits until a stage can start and begins an attempt at it, unless it is done.
func (a *App) claim(ctx context.Context, dir string, c *presets.Config, s method.Stage, cmd *Stage) (done bool, run *runs.Run, err error) {
	reported := 0 // attempt
	claim := runs.Claim{Watch: func(earlier runs.Status) {
		if earlier.Attempt == reported {
			return
		}
		reported = earlier.Attempt
		fmt.Fprintf(a.Err, "attempt %d at stage %s (process %d on %s) may still be running: waiting a few seconds for its heartbeat\n", earlier.Attempt, s.Name, earlier.PID, earlier.Host)
	}}
	if cmd.Slurm {
		claim.Job = slurm.JobID()
	}
	deadline := time.Now().Add(inputTimeout)
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
				return false, run, checkProgress(run, dir, s, claim)
			}
		}
		if errors.Is(err, runs.ErrDone) {
			continue // another process has completed it since pipeline.Ready
		}
		if cmd.Slurm && errors.As(err, new(*pipeline.Invalid)) {
			return false, nil, recordRefusal(ctx, dir, s, claim, err)
		}
		notReady, taken := errors.As(err, new(*pipeline.NotReady)), errors.Is(err, runs.ErrTaken)
		switch {
		case !notReady && !taken:
			return false, nil, err
		case !cmd.Wait && !(cmd.Slurm && notReady && time.Now().Before(deadline)):
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

// recordRefusal records in the run why a job cannot start a stage. The output of a job is
// rarely read, but wait and status show the run's events.
func recordRefusal(ctx context.Context, dir string, s method.Stage, claim runs.Claim, err error) error {
	run, openErr := runs.OpenStage(ctx, dir, s.Name, claim)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	return errors.Join(err, recordFailure(run, err))
}

// recordFailure records in the run why a stage has failed, and closes the run.
func recordFailure(run *runs.Run, err error) error {
	return errors.Join(run.Emit(runs.Event{Kind: runs.Error, Message: err.Error()}), run.Finish(runs.Failed, err.Error()), run.Close())
}

// checkProgress returns an error if a job was requeued for a stage too often without making
// progress. In that case it closes run.
func checkProgress(run *runs.Run, dir string, s method.Stage, claim runs.Claim) error {
	if claim.Job == "" {
		return nil
	}
	n, err := runs.FruitlessAttempts(dir, s.Name, claim.Job) // including this attempt
	if err == nil && n <= maxFruitless {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("stage %s made no progress in %d attempts: see their output in %s, give the jobs more time, and resume with: hatchery resume %s",
			s.Name, maxFruitless, filepath.Join(dir, "attempts"), printable.Word(dir))
	}
	return errors.Join(err, recordFailure(run, err))
}

// executeStage executes a stage; run is the attempt at it. If the attempt is interrupted,
// executeStage records why.
func executeStage(ctx context.Context, c *presets.Config, run *runs.Run, s method.Stage, cmd *Stage) (requeued bool, err error) {
	stageCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-run.Lost():
			stop(run.LostCause())
		case <-stageCtx.Done():
		}
	}()
	err = pipeline.ExecuteStage(stageCtx, c, run, s)
	cause := context.Cause(stageCtx)
	stop(nil)
	<-watched
	if !errors.Is(err, pipeline.ErrInterrupted) {
		return false, err
	}
	if lost := run.LostCause(); lost != nil {
		cause = lost // by now it also says what was saved last
	}
	if errors.Is(cause, runs.ErrSuperseded) || errors.Is(cause, runs.ErrFolderLost) {
		return false, errors.Join(cause, run.Finish(runs.Stopped, cause.Error()))
	}
	if cmd.Slurm {
		return endJob(run, cause)
	}
	return false, errors.Join(err, recordInterruption(run, "stopped on request; every finished step is in a checkpoint"))
}

// endJob ends the attempt of a job that got a signal. It requeues the job, unless the user
// asked for a stop.
func endJob(run *runs.Run, cause error) (requeued bool, err error) {
	ctx := context.Background()
	var s Signalled
	errors.As(cause, &s)
	fate, why := slurm.Continues, "its time is nearly up"
	switch s.Signal {
	case syscall.SIGUSR1:
	case syscall.SIGTERM:
		why = "its node is taken away"
		if fate, err = slurm.AfterSignal(ctx); err != nil {
			return false, errors.Join(pipeline.ErrInterrupted, err, recordInterruption(run, "ended by Slurm"))
		}
	default:
		fate, why = slurm.Ends, "stopped on request"
	}
	if fate == slurm.Ends {
		return false, errors.Join(pipeline.ErrInterrupted, recordInterruption(run, why+"; every finished step is in a checkpoint"))
	}
	// This process may not survive the request to requeue the job, so record it first.
	message := why + ": the job is requeued"
	err = errors.Join(run.Emit(runs.Event{Kind: runs.Requeued, Message: message}), run.Finish(runs.Waiting, message))
	if err == nil && fate == slurm.Continues {
		if err = slurm.Requeue(ctx); err != nil {
			err = errors.Join(pipeline.ErrInterrupted, err, recordInterruption(run, fmt.Sprintf("%s, and the job cannot be requeued: %v", why, err)))
		}
	}
	return err == nil, err
}

// recordInterruption records in the run that its attempt was interrupted.
func recordInterruption(run *runs.Run, message string) error {
	return errors.Join(run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message))
}
