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
	"hatchery/presets"
)

// Attach shows a run of another process until it ends, whose error it returns,
// or until ctx does, which leaves the run alone.
func (a *App) Attach(ctx context.Context, name string, asJSON bool) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	err = a.attach(ctx, dir, c, asJSON)
	if ctx.Err() != nil {
		id := filepath.Base(dir)
		fmt.Fprintf(a.Err, "\nleft %s, which goes on; to come back: hatchery attach %s\n", id, a.ref(dir))
		return nil
	}
	return err
}

func (a *App) attach(ctx context.Context, dir string, c *presets.Config, asJSON bool) error {
	state, follower, err := runs.Attach(ctx, dir)
	if err != nil {
		return err
	}
	h, err := a.health(ctx, dir, state)
	if err != nil {
		follower.Close()
		return err
	}
	var show viewer = newJSON(a.Out)
	if !asJSON {
		if err := a.statusText(dir, c, h); err != nil {
			follower.Close()
			return err
		}
		show = newText(a.Out, filepath.Base(dir), c)
	}
	if h.over() {
		follower.Close()
		return a.ending(dir, h.live)
	}
	if !asJSON {
		fmt.Fprintln(a.Out, "attached; Ctrl-C leaves the run running")
	}
	end := a.display(ctx, follower, state, folding(dir), show)
	live, err := a.wait(ctx, dir)
	end()
	if err != nil {
		return err
	}
	return a.ending(dir, live)
}

// Logs writes the logs of a run: its own, and those of stages that have
// processes of their own. With follow it goes on until the run ends.
func (a *App) Logs(ctx context.Context, name string, follow bool) error {
	dir, err := a.findRun(name)
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
		if !follow || over {
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
