package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
	"hatchery/engine/study"
)

// Execute executes a detached run or study; see launch.Main. The errors of a run are
// written to its log.
type Execute struct {
	Step  string `hidden:""`
	Queue bool   `hidden:""`
	Study bool   `hidden:""`
	Dir   string `arg:"" name:"run"`
}

func (*Execute) Effect() Effect { return TrainsDetached }

func (cmd *Execute) Run(_ context.Context, a *App) error {
	task := launch.Task{Step: cmd.Step, Queue: cmd.Queue, Study: cmd.Study, Dir: cmd.Dir}
	logged := false
	err := launch.Main(task, func(ctx context.Context, o launch.Options) error {
		if task.Study {
			s, err := study.Open(filepath.Dir(filepath.Dir(task.Dir)), filepath.Base(task.Dir))
			if err != nil {
				return err
			}
			return a.executeStudy(ctx, s, o.Started, false)
		}
		c, err := configOf(task.Dir)
		if err != nil {
			return err
		}
		run, err := runs.Open(task.Dir)
		if err != nil {
			return err
		}
		_, follower, err := keepLog(ctx, run, c)
		if err != nil {
			return errors.Join(err, run.Close())
		}
		follower.Close()
		logged = true
		return launch.Execute(ctx, c, run, o)
	})
	if err != nil && !logged {
		fmt.Fprintln(a.Err, "hatchery:", err)
	}
	return err
}
