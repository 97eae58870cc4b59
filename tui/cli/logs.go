package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
)

// Logs writes the logs of a run: its own, and those of stages that have processes of
// their own.
type Logs struct {
	RunArg
	Follow bool `short:"f" help:"Go on until the run ends."`
}

func (*Logs) Effect() Effect { return Looks }

func (cmd *Logs) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	at := map[string]int64{} // how much of a file was written
	unread := map[string]bool{}
	last := ""
	for {
		// What is there once the run has ended is all.
		live, err := runs.ReadLiveness(dir, time.Now())
		if err != nil {
			return err
		}
		paths, err := runs.LogPaths(dir)
		if err != nil {
			return err
		}
		outputs, err := slurm.Outputs(dir)
		if err != nil {
			return err
		}
		paths = append(paths, slices.Compact(slices.Sorted(maps.Values(outputs)))...)
		for _, path := range paths {
			n, err := a.copyLog(path, at[path], len(paths) > 1 && path != last)
			if p := (*fs.PathError)(nil); errors.As(err, &p) && p.Path == path { // one log that cannot be read hides no other
				if !unread[path] {
					fmt.Fprintln(a.Err, "warning:", err)
				}
				unread[path] = true
				continue
			}
			if err != nil {
				return err
			}
			if at[path] += n; n > 0 {
				last = path
			}
		}
		over := live.Alive == runs.IsFinished && live.Status.Phase != runs.Waiting || live.Alive == runs.IsCrashed
		if !cmd.Follow || over {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// copyLog writes what a log holds beyond a place, if anything, under its name
// if that is wanted.
func (a *App) copyLog(path string, from int64, named bool) (int64, error) {
	f, err := runs.OpenFile(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= from {
		return 0, err
	}
	if named {
		fmt.Fprintf(a.Out, "\n==> %s <==\n", filepath.Base(path))
	}
	return io.Copy(a.Out, io.NewSectionReader(f, from, info.Size()-from))
}
