package cli

import (
	"context"
	"errors"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
)

// Pause suspends a run of another process until it is resumed.
type Pause struct{ RunArg }

func (*Pause) Effect() Effect { return Acts }

func (cmd *Pause) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	if slurm.Submitted(dir) {
		return badInput{errors.New("a run that was submitted to Slurm cannot be paused, because it would block its nodes; stop it and resume it later")}
	}
	return a.control(ctx, dir, launch.Pause)
}
