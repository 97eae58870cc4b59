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

// Logs writes the logs of a run and of its stages that have processes of their own.
type Logs struct {
	RunArg
	Follow bool `short:"f" help:"Follow the log until the run ends."`
}

func (*Logs) Effect() Effect { return Reads }

func (cmd *Logs) Run(ctx context.Context, a *App) error {
	dir, err := a.findRun(cmd.Name)
	if err != nil {
		return err
	}
	copied := map[string]int64{} // number of bytes, by path
	unread := map[string]bool{}
	last := ""
	for {
		// This is read before the logs, so that they are complete if the run has ended.
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
			n, err := a.copyLog(path, copied[path], len(paths) > 1 && path != last)
			if p := (*fs.PathError)(nil); errors.As(err, &p) && p.Path == path { // show the other logs
				if !unread[path] {
					fmt.Fprintln(a.Err, "warning:", err)
				}
				unread[path] = true
				continue
			}
			if err != nil {
				return err
			}
			if copied[path] += n; n > 0 {
				last = path
			}
		}
		ended := live.Alive == runs.IsFinished && live.Status.Phase != runs.Waiting || live.Alive == runs.IsCrashed
		if !cmd.Follow || ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// copyLog writes a log from the given offset and returns the number of bytes. If header is
// set and there are any, it writes the name of the log first.
func (a *App) copyLog(path string, offset int64, header bool) (int64, error) {
	f, err := runs.OpenFile(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= offset {
		return 0, err
	}
	if header {
		fmt.Fprintf(a.Out, "\n==> %s <==\n", filepath.Base(path))
	}
	return io.Copy(a.Out, io.NewSectionReader(f, offset, info.Size()-offset))
}
