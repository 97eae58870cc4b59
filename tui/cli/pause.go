package cli

import (
	"context"
	"errors"

	"hatchery/engine/launch"
	"hatchery/engine/launch/slurm"
)

// Pause makes a run of another process idle until it is resumed.
type Pause struct{ RunArg }

func (*Pause) Effect() Effect { return Acts }

func (cmd *Pause) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	if slurm.Submitted(dir) {
		return badInput{errors.New("a run in Slurm's hands cannot idle, for others wait for its nodes; stop and resume it")}
	}
	return a.control(ctx, dir, launch.Pause)
}
