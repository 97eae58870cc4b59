package cli

import (
	"context"
	"errors"
	"fmt"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
)

// Stop stops a run of another process.
type Stop struct {
	RunArg
	AfterEpoch bool `help:"At the end of the epoch under way, rather than after the step."`
	Kill       bool `help:"At once, without a checkpoint."`
}

func (*Stop) Effect() Effect { return Acts }

func (cmd *Stop) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	switch {
	case cmd.AfterEpoch && cmd.Kill:
		return badInput{errors.New("--after-epoch and --kill exclude each other")}
	case slurm.Submitted(dir) && cmd.AfterEpoch:
		return badInput{errors.New("a run in Slurm's hands stops after the step under way: leave --after-epoch out")}
	case slurm.Submitted(dir):
		return a.stopJobs(ctx, dir, cmd.Kill)
	case cmd.Kill:
		if err := launch.Kill(ctx, dir); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "killed; go on from its last checkpoint with: hatchery resume %s\n", a.ref(dir))
		return nil
	case cmd.AfterEpoch:
		return a.control(ctx, dir, func(ctx context.Context, dir string) (launch.Reply, error) {
			reply, err := launch.StopAfterEpoch(ctx, dir, func(r launch.Reply) { fmt.Fprintln(a.Out, r.Message) })
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(a.Err, "not waited for; the run will stop all the same")
			}
			return reply, err
		})
	}
	return a.control(ctx, dir, launch.Stop)
}

// stopJobs stops a run that is in Slurm's hands.
func (a *App) stopJobs(ctx context.Context, dir string, kill bool) error {
	var err error
	if kill {
		err = slurm.Kill(ctx, dir)
	} else {
		err = slurm.Stop(ctx, dir, func(waits string) { fmt.Fprintln(a.Out, waits) })
	}
	if errors.Is(err, slurm.ErrNotActive) {
		return badInput{err}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "stopped\ngo on with: hatchery resume %s\n", a.ref(dir))
	return nil
}

// control makes a request to a run and says what came of it.
func (a *App) control(ctx context.Context, dir string, do func(context.Context, string) (launch.Reply, error)) error {
	reply, err := do(ctx, dir)
	if err != nil {
		return err // a request that was taken stands, whether this waits for it or not
	}
	fmt.Fprintln(a.Out, reply.Message)
	if s, err := runs.ReadStatus(dir); err == nil && (s.Phase == runs.Stopped || s.Phase == runs.Paused) {
		fmt.Fprintf(a.Out, "go on with: hatchery resume %s\n", a.ref(dir))
	}
	return nil
}
