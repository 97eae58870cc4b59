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

// LogPath is the file with what a detached process says of the study. Nothing
// is there if it never had one.
func (s *Study) LogPath() string { return filepath.Join(s.Dir(), logFile) }

// Detach starts a process that executes the study and outlives this one, and
// returns when that holds the study, or with the reason why it does not. The
// process is this program with the command of [launch.Main].
func (s *Study) Detach(ctx context.Context) error {
	if running, err := s.Running(); err != nil {
		return err
	} else if running {
		return fmt.Errorf("study %s: %w", s.ID, ErrLocked)
	}
	return launch.Detach(ctx, launch.Task{Study: true, Dir: s.Dir()}, s.LogPath())
}

// Stop makes the process that executes the study stop after the step under way
// and save a checkpoint, wherever that process was started. It returns when
// another process could go on with the study, which may have come to its end
// instead. The error wraps launch.ErrNotRunning if no process executes it.
func (s *Study) Stop(ctx context.Context) error {
	const often = 20 * time.Millisecond
	var silent time.Time // since when a run cannot be asked; zero: it can
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
		// A study stops with the run of its present cell. Between two cells there
		// is none for a moment, one may end by itself before it is asked, and one
		// that takes stages over cannot be asked yet.
		for _, cell := range s.Cells {
			dir := s.RunDir(cell)
			if !alive(dir) {
				continue
			}
			_, err := launch.Stop(ctx, dir)
			switch {
			case err == nil || !alive(dir):
				silent = time.Time{}
			case silent.IsZero():
				silent = time.Now()
			case time.Since(silent) > patience:
				return fmt.Errorf("study %s, cell %s: %w", s.ID, cell.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(often):
		}
	}
}

// patience is how long a run may be there that cannot be asked.
const patience = 10 * time.Second

// alive says whether a process executes the run in dir.
func alive(dir string) bool {
	live, err := runs.ReadLiveness(dir, time.Now())
	return err == nil && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled)
}

// Running says whether a process executes the study. The system takes a lock
// away with its process, however that ends, so that this is true on any machine
// that sees the lock. Where the file system has none, it is whether a run of the
// study is being executed.
func (s *Study) Running() (bool, error) {
	// A shared lock for a moment: two who ask do not see each other, and lock
	// waits longer than that.
	l := flock.New(filepath.Join(s.Dir(), lockFile), flock.SetFlag(os.O_RDONLY))
	free, err := l.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if runs.Lockless(err) {
		return slices.ContainsFunc(s.Cells, func(c Cell) bool { return alive(s.RunDir(c)) }), nil
	}
	if err != nil {
		return false, fmt.Errorf("study %s: its lock cannot be read: %w", s.ID, err)
	}
	return !free, l.Close()
}

// lock keeps other processes from executing the study until unlock.
func (s *Study) lock(ctx context.Context) (unlock func(), err error) {
	const moment, often = 500 * time.Millisecond, 5 * time.Millisecond
	l := flock.New(filepath.Join(s.Dir(), lockFile))
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	ok, err := l.TryLockContext(ctx, often)
	if runs.Lockless(err) { // the run of each cell is still protected from a second writer
		return func() {}, nil
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("study %s cannot be locked: %w", s.ID, err)
	}
	if !ok {
		l.Close()
		return nil, fmt.Errorf("study %s: %w", s.ID, ErrLocked)
	}
	return func() { l.Close() }, nil
}
