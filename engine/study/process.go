package study

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
)

// LogPath returns the path of the log of detached processes of the study. The file exists
// only if there has been one.
func (s *Study) LogPath() string { return filepath.Join(s.Dir(), logFile) }

// Detach starts a process that executes the study and outlives this process. It returns when
// that process has locked the study, or the error of that process. The process is this
// program with the command of [launch.Main].
func (s *Study) Detach(ctx context.Context) error {
	if running, err := s.Running(); err != nil {
		return err
	} else if running {
		return fmt.Errorf("study %s: %w", s.ID, ErrLocked)
	}
	return launch.Detach(ctx, launch.Task{Study: true, Dir: s.Dir()}, s.LogPath())
}

// Stop makes the process that executes the study save a checkpoint and stop after the current
// training step, no matter who started it. It returns when another process could resume the
// study; the study may also have ended by itself. The error wraps launch.ErrNotRunning if no
// process executes the study.
func (s *Study) Stop(ctx context.Context) error {
	const interval = 20 * time.Millisecond
	var failingSince time.Time // since when requests to a run fail; zero if they do not
	for asked := false; ; asked = true {
		running, err := s.Running()
		switch {
		case err != nil:
			return err
		case !running && !asked:
			return fmt.Errorf("study %s: %w", s.ID, launch.ErrNotRunning)
		case !running:
			return nil
		}
		// A study stops with the run of its current cell. Between two cells there is
		// briefly no such run. A run may end by itself before it gets the request, and a
		// run that is taking over stages cannot get requests yet.
		for _, cell := range s.Cells {
			dir := s.RunDir(cell)
			if !alive(dir) {
				continue
			}
			_, err := launch.Stop(ctx, dir)
			switch {
			case err == nil || !alive(dir):
				failingSince = time.Time{}
			case failingSince.IsZero():
				failingSince = time.Now()
			case time.Since(failingSince) > requestTimeout:
				return fmt.Errorf("study %s, cell %s: %w", s.ID, cell.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}

// requestTimeout is how long requests to a running run may fail.
const requestTimeout = 10 * time.Second

// alive reports whether a process executes the run in dir.
func alive(dir string) bool {
	live, err := runs.ReadLiveness(dir, time.Now())
	return err == nil && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled)
}

// Running reports whether a process executes the study. It depends on the study's lock, which
// the system releases whenever the process ends. If the file system has no locks, Running
// reports whether a run of the study is being executed.
func (s *Study) Running() (bool, error) {
	// This briefly takes a shared lock. Several processes can do that at the same time,
	// and Study.lock waits longer than that.
	l := flock.New(filepath.Join(s.Dir(), lockFile), flock.SetFlag(os.O_RDONLY))
	free, err := l.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if runs.Lockless(err) {
		return slices.ContainsFunc(s.Cells, func(c Cell) bool { return alive(s.RunDir(c)) }), nil
	}
	if err != nil {
		return false, fmt.Errorf("study %s: cannot read its lock: %w", s.ID, err)
	}
	return !free, l.Close()
}

// lock locks the study, so that no other process executes it, until unlock is called.
func (s *Study) lock(ctx context.Context) (unlock func(), err error) {
	const timeout, interval = 500 * time.Millisecond, 5 * time.Millisecond
	l := flock.New(filepath.Join(s.Dir(), lockFile))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ok, err := l.TryLockContext(ctx, interval)
	if runs.Lockless(err) { // the run of each cell is still protected against a second writer
		return func() {}, nil
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("cannot lock study %s: %w", s.ID, err)
	}
	if !ok {
		l.Close()
		return nil, fmt.Errorf("study %s: %w", s.ID, ErrLocked)
	}
	return func() { l.Close() }, nil
}
