package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// detached says what became of starting a process for the run in dir.
func (a *App) detached(dir string, err error, how Start) error {
	if err != nil {
		return err
	}
	if warning := launch.LogoutWarning(); warning != "" {
		fmt.Fprintln(a.Err, "warning:", warning)
	}
	id := filepath.Base(dir)
	if how.JSON {
		return json.NewEncoder(a.Out).Encode(map[string]string{"run": id, "dir": dir})
	}
	where := "runs in the background"
	if how.Queue {
		where = "is queued; hatchery queue shows the order"
	}
	fmt.Fprintf(a.Out, "%s %s\nto see it: hatchery attach %s\nto stop it: hatchery stop %s\n", id, where, a.ref(dir), a.ref(dir))
	return nil
}

// Execute is the process of a detached run or study: see launch.Main. The
// errors of a run are written to its log.
func (a *App) Execute(task launch.Task) error {
	logged := false
	err := launch.Main(task, func(ctx context.Context, o launch.Options) error {
		if task.Study {
			s, err := study.Open(filepath.Dir(filepath.Dir(task.Dir)), filepath.Base(task.Dir))
			if err != nil {
				return err
			}
			return a.executeStudy(ctx, s, o.Started, false)
		}
		c, err := presets.Load(filepath.Join(task.Dir, "config.toml"), nil)
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
