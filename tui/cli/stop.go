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
	StopAfterEpoch bool `name:"after-epoch" help:"Stop at the end of the current epoch rather than after the current step."`
	Kill           bool `help:"Kill the run at once, without a checkpoint."`
}

func (*Stop) Effect() Effect { return Acts }

func (cmd *Stop) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	switch {
	case cmd.StopAfterEpoch && cmd.Kill:
		return badInput{errors.New("--after-epoch and --kill exclude each other")}
	case slurm.Submitted(dir) && cmd.StopAfterEpoch:
		return badInput{errors.New("a run that was submitted to Slurm stops after the current step: omit --after-epoch")}
	case slurm.Submitted(dir):
		return a.stopJobs(ctx, dir, cmd.Kill)
	case cmd.Kill:
		if err := launch.Kill(ctx, dir); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "killed; resume from its last checkpoint with: hatchery resume %s\n", a.ref(dir))
		return nil
	case cmd.StopAfterEpoch:
		return a.control(ctx, dir, func(ctx context.Context, dir string) (launch.Reply, error) {
			reply, err := launch.StopAfterEpoch(ctx, dir, func(r launch.Reply) { fmt.Fprintln(a.Out, r.Message) })
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(a.Err, "no longer waiting; the run will still stop")
			}
			return reply, err
		})
	}
	return a.control(ctx, dir, launch.Stop)
}

// stopJobs stops a run that was submitted to Slurm.
func (a *App) stopJobs(ctx context.Context, dir string, kill bool) error {
	var err error
	if kill {
		err = slurm.Kill(ctx, dir)
	} else {
		err = slurm.Stop(ctx, dir, func(message string) { fmt.Fprintln(a.Out, message) })
	}
	if errors.Is(err, slurm.ErrNotActive) {
		return badInput{err}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "stopped\nresume with: hatchery resume %s\n", a.ref(dir))
	return nil
}

// control sends a request to a run and prints the reply.
func (a *App) control(ctx context.Context, dir string, request func(context.Context, string) (launch.Reply, error)) error {
	reply, err := request(ctx, dir)
	if err != nil {
		return err // if ctx is done, a request that was accepted is still carried out
	}
	fmt.Fprintln(a.Out, reply.Message)
	if s, err := runs.ReadStatus(dir); err == nil && (s.Phase == runs.Stopped || s.Phase == runs.Paused) {
		fmt.Fprintf(a.Out, "resume with: hatchery resume %s\n", a.ref(dir))
	}
	return nil
}
