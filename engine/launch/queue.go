package launch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"hatchery/engine/atomicfile"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// A queued run is a process that waits. The folder of runs has two files for each machine:
// ".queue-<host>" is a JSON list of the ids of queued runs, in order, and ".machine-<host>" is
// locked by every run that is being executed, exclusively by a run from the queue. The next
// run therefore starts by itself when the previous one ends or crashes.
//
// A run that is started without the queue starts at once. Queued runs wait for it, unless a
// run from the queue was being executed when it started.
//
// A queue belongs to one user, because other users could neither read nor stop the runs that
// they would wait for.

// ErrOthersQueue is wrapped if the queue of a folder belongs to another user.
var ErrOthersQueue = errors.New("it belongs to another user")

// Queued returns the ids of the runs under root in the queue of this machine, in order.
func Queued(root string) ([]string, error) {
	ids, err := readQueue(root)
	if err != nil {
		return nil, fmt.Errorf("launch: queue: %w", err)
	}
	return keepQueued(root, ids), nil
}

// MoveQueued moves a run in the queue by the given number of positions, towards the front if
// by is negative.
func MoveQueued(ctx context.Context, root, id string, by int) error {
	found := false
	err := changeQueue(ctx, root, func(ids []string) []string {
		from := slices.Index(ids, id)
		if found = from >= 0; !found {
			return ids
		}
		to := min(max(from+by, 0), len(ids)-1)
		return slices.Insert(slices.Delete(ids, from, from+1), to, id)
	})
	if err == nil && !found {
		return fmt.Errorf("launch: %s is not in the queue of this machine", id)
	}
	return err
}

func queuePath(root, kind string) string {
	host, _ := os.Hostname()
	return filepath.Join(root, "."+kind+"-"+filepath.Base(host))
}

func queueLockPath(root string) string { return queuePath(root, "queue") + ".lock" }

// checkQueue returns an error if the queue belongs to another user, even if this user is
// root.
func checkQueue(root string) error {
	for _, path := range []string{queuePath(root, "queue"), queueLockPath(root), queuePath(root, "machine")} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if ok && int(owner.Uid) != os.Geteuid() {
			name := fmt.Sprint(owner.Uid)
			if u, err := user.LookupId(name); err == nil {
				name = u.Username
			}
			return fmt.Errorf("%w: %s belongs to %s; start the run without --queue, or queue it in a folder of your own: --runs-dir=DIR", ErrOthersQueue, path, name)
		}
	}
	return nil
}

// readQueue returns the ids in the queue's file.
func readQueue(root string) ([]string, error) {
	path := queuePath(root, "queue")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, cmp.Or(checkQueue(root), err)
	}
	var ids []string
	if err := json.Unmarshal(data, &ids); err != nil {
		return nil, fmt.Errorf("%s: %w; delete the file to start a new queue", path, err)
	}
	return ids, nil
}

// keepQueued removes runs that do not exist or are not waiting any more, and entries that
// would start a run twice: repeated ids, and other paths of a run, such as "run/".
func keepQueued(root string, ids []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again || filepath.Base(id) != id || !isQueued(filepath.Join(root, id))
	})
}

// lockEvery is the interval between attempts to lock the queue. Processes hold the lock only
// briefly, unless they are stopped meanwhile.
const lockEvery = 10 * time.Millisecond

// changeQueue calls change with the ids of the queued runs and writes its result.
func changeQueue(ctx context.Context, root string, change func(ids []string) []string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("launch: queue: %w", err)
		}
	}()
	if err := checkQueue(root); err != nil {
		return err
	}
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		change(nil)
		return nil
	}
	lock := flock.New(queueLockPath(root), flock.SetPermissions(0o600))
	defer lock.Close()
	if _, err := lock.TryLockContext(ctx, lockEvery); err != nil {
		return err
	}
	ids, err := readQueue(root)
	if err != nil {
		return err
	}
	waiting := change(keepQueued(root, ids))
	if slices.Equal(waiting, ids) {
		return nil
	}
	data, err := json.Marshal(waiting)
	if err != nil {
		return err
	}
	return atomicfile.Write(queuePath(root, "queue"), append(data, '\n'), 0o600)
}

// isQueued reports whether the run in dir has a process that waits in the queue.
func isQueued(dir string) bool {
	live, err := runs.ReadLiveness(dir, time.Now())
	return err == nil && live.Status.Phase == runs.Queued && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled)
}

// turn is the use of this machine by a run.
type turn struct {
	run      *runs.Run
	root, id string
	machine  *flock.Flock
}

func newTurn(run *runs.Run) *turn {
	root, id := splitDir(run.Dir())
	return &turn{run, root, id, flock.New(queuePath(root, "machine"), flock.SetPermissions(0o600))}
}

// splitDir returns the folder of runs and the id of the run in dir. dir may also be written as
// "runs/x/" or, if it is the current folder, as ".".
func splitDir(dir string) (root, id string) {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Dir(dir), filepath.Base(dir)
}

// share makes queued runs wait for this run.
func (t *turn) share() {
	// If this fails, because a queued run is being executed or there are no locks, the
	// run starts anyway: it is not queued.
	_, _ = t.machine.TryRLock()
}

// end frees the machine for the next run.
func (t *turn) end() error { return t.machine.Close() }

// turnEvery is the interval at which a queued run checks whether it can start.
const turnEvery = 500 * time.Millisecond

// wait queues the run, calls queued, and waits until the run can start. It returns the run's
// configuration, which may have been edited meanwhile. If ctx is done first, the run leaves
// the queue, and the error wraps pipeline.ErrInterrupted. Like pipeline.Execute, wait writes
// an error to the run.
func (t *turn) wait(ctx context.Context, queued func()) (*presets.Config, error) {
	var c *presets.Config
	err := t.joinQueue(ctx, queued)
	if err == nil {
		c, err = t.config(ctx)
	}
	if lost := t.run.LostCause(); err != nil && lost != nil {
		err = lost
	}
	var e runs.Event
	phase := runs.Failed
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, pipeline.ErrInterrupted):
		e, phase = runs.Event{Kind: runs.Interrupted, Message: "removed from the queue"}, runs.Stopped
	default:
		e = runs.Event{Kind: runs.Error, Message: err.Error()}
	}
	return nil, errors.Join(err, t.run.Emit(e), t.run.Finish(phase, e.Message))
}

// config reads the configuration of the run and checks it as at the start of a run.
func (t *turn) config(ctx context.Context) (*presets.Config, error) {
	c, err := presets.Load(filepath.Join(t.run.Dir(), "config.toml"), nil)
	if err == nil {
		err = pipeline.CheckUnfinished(ctx, c, t.run.Dir())
	}
	switch {
	case ctx.Err() != nil:
		return nil, pipeline.ErrInterrupted
	case err != nil:
		return nil, fmt.Errorf("the run left the queue, but its configuration is invalid: %w", err)
	}
	return c, nil
}

func (t *turn) joinQueue(ctx context.Context, queued func()) error {
	// The status comes first: entries of runs that are not Queued are removed from the
	// queue.
	if err := errors.Join(t.run.SetPhase(runs.Queued), t.run.Emit(runs.Event{Kind: runs.Queue})); err != nil {
		return err
	}
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for joined := false; ; joined = true {
		first := false
		err := changeQueue(ctx, t.root, func(ids []string) []string {
			if !joined { // an existing entry is left from before the run was stopped
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == t.id })
			}
			if !slices.Contains(ids, t.id) {
				ids = append(ids, t.id)
			}
			first = ids[0] == t.id
			return ids
		})
		if err != nil && ctx.Err() != nil {
			return pipeline.ErrInterrupted
		}
		if err != nil {
			return err
		}
		if queued != nil {
			queued()
			queued = nil
		}
		if first {
			has, err := t.machine.TryLock()
			if err != nil {
				return fmt.Errorf("launch: cannot lock the machine: %w", err)
			}
			if has {
				// The new phase also removes the run from the queue.
				return t.run.SetPhase(runs.Running)
			}
		}
		select {
		case <-ctx.Done():
			return pipeline.ErrInterrupted
		case <-tick.C:
		}
	}
}
