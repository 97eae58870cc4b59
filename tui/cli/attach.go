package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
)

// Attach shows a run of another process until it ends, whose error it returns,
// or until ctx does, which leaves the run alone.
func (a *App) Attach(ctx context.Context, name string, asJSON bool) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	id := filepath.Base(dir)
	before, err := runs.ReadEvents(dir)
	if err != nil {
		return err
	}
	var show viewer = newJSON(a.Out)
	if !asJSON {
		if err := a.Status(dir, false); err != nil {
			return err
		}
		fmt.Fprintln(a.Out, "attached; Ctrl-C leaves the run running")
		show = newText(a.Out, id, c)
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan error, 1)
	go func() { watched <- follow(following, dir, len(before), show) }()

	live, err := a.wait(ctx, dir)
	if ctx.Err() != nil {
		stop()
		<-watched
		fmt.Fprintf(a.Err, "\nleft %s, which goes on; to come back: hatchery attach %s\n", id, id)
		return nil
	}
	// A run that ended in an orderly way has a last event, which may have come
	// before this began to look.
	if err != nil || live.Alive == runs.IsCrashed || ended(before) {
		stop()
	}
	select {
	case watchErr := <-watched:
		err = errors.Join(err, watchErr)
	case <-time.After(lastEventWithin):
		stop()
		err = errors.Join(err, <-watched)
	}
	if err != nil {
		return err
	}
	return ending(dir, live)
}

// ended says whether the last of the events is the last of a run.
func ended(events []runs.Event) bool {
	switch runs.Fold(events).Phase {
	case runs.Finished, runs.Failed, runs.Stopped:
		return true
	}
	return false
}

// Logs writes the logs of a run: its own, and those of stages that have
// processes of their own. With follow it goes on until the run ends.
func (a *App) Logs(ctx context.Context, name string, follow bool) error {
	dir, err := a.findRun(name)
	if err != nil {
		return err
	}
	at := map[string]int64{} // how much of a file was written
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
