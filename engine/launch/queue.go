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

// A queued run is a process that waits. Beside the runs, for each machine, lie
// ".queue-<host>", a JSON list of their ids in the order in which they will
// begin, and ".machine-<host>", locked by every run that is executed, by one
// from the queue for itself alone. So nobody has to start the next run, and a
// run that crashes makes room like one that is done.
//
// A run that is started without the queue begins at once, and those in the
// queue wait for it, unless one of them was under way then.

// A queue belongs to one user, because other users could neither read nor stop the
// runs that they would wait for.

// ErrOthersQueue is wrapped when the queue of a folder belongs to another user.
var ErrOthersQueue = errors.New("it belongs to another user")

// Queued lists the runs under root that wait on this machine, the next first.
func Queued(root string) ([]string, error) {
	ids, err := readQueue(root)
	if err != nil {
		return nil, fmt.Errorf("launch: the queue: %w", err)
	}
	return stillWaiting(root, ids), nil
}

// MoveQueued moves a queued run by so many places, forwards if by is negative.
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

func queuePath(root, what string) string {
	host, _ := os.Hostname()
	return filepath.Join(root, "."+what+"-"+filepath.Base(host))
}

func queueLockPath(root string) string { return queuePath(root, "queue") + ".lock" }

// checkQueue returns an error if the queue belongs to another user, even for root.
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

// stillWaiting leaves out runs that are gone or no longer waiting, and whatever would
// start a run twice: a repeated id, or another path to the run, such as "run/".
func stillWaiting(root string, ids []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again || filepath.Base(id) != id || !waits(filepath.Join(root, id))
	})
}

// lockEvery is the time between two attempts to lock the queue. Processes hold the
// lock for a moment only, unless they are stopped in between.
const lockEvery = 10 * time.Millisecond

// changeQueue lets change edit the queue of those that still wait.
func changeQueue(ctx context.Context, root string, change func(ids []string) []string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("launch: the queue: %w", err)
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
	waiting := change(stillWaiting(root, ids))
	if slices.Equal(waiting, ids) {
		return nil
	}
	data, err := json.Marshal(waiting)
	if err != nil {
		return err
	}
	return atomicfile.Write(queuePath(root, "queue"), append(data, '\n'), 0o600)
}

// waits says whether the run in dir has a process that waits for its turn.
func waits(dir string) bool {
	live, err := runs.ReadLiveness(dir, time.Now())
	return err == nil && live.Status.Phase == runs.Queued && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled)
}

// turn is a run's right to the machine.
type turn struct {
	run      *runs.Run
	root, id string
	machine  *flock.Flock
}

func newTurn(run *runs.Run) *turn {
	root, id := place(run.Dir())
	return &turn{run, root, id, flock.New(queuePath(root, "machine"), flock.SetPermissions(0o600))}
}

// place returns the folder of runs and the id of the run in dir, even if dir is written
// as "runs/x/" or, from inside, as ".".
func place(dir string) (root, id string) {
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	return filepath.Dir(dir), filepath.Base(dir)
}

// share makes the queue wait for this run.
func (t *turn) share() {
	// If a queued run has the machine, or the lock cannot be had, this one runs
	// all the same: it was not asked to wait.
	t.machine.TryRLock()
}

// end gives the machine to the next.
func (t *turn) end() error { return t.machine.Close() }

// turnEvery is how often a queued run looks whether its turn has come.
const turnEvery = 500 * time.Millisecond

// wait queues the run, calls queued, and returns when the run has the machine,
// with its configuration, which may have been edited meanwhile. If ctx ends first,
// the run leaves the queue, and the error wraps pipeline.ErrInterrupted. Like
// pipeline.Execute it writes into the run why it fails.
func (t *turn) wait(ctx context.Context, queued func()) (*presets.Config, error) {
	var c *presets.Config
	err := t.await(ctx, queued)
	if err == nil {
		c, err = t.config(ctx)
	}
	if lost := t.run.LostCause(); err != nil && lost != nil {
		err = lost
	}
	var e runs.Event
	how := runs.Failed
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, pipeline.ErrInterrupted):
		e, how = runs.Event{Kind: runs.Interrupted, Message: "taken out of the queue"}, runs.Stopped
	default:
		e = runs.Event{Kind: runs.Error, Message: err.Error()}
	}
	return nil, errors.Join(err, t.run.Emit(e), t.run.Finish(how, e.Message))
}

// config reads the configuration of the run and checks it as if the run were
// started now.
func (t *turn) config(ctx context.Context) (*presets.Config, error) {
	c, err := presets.Load(filepath.Join(t.run.Dir(), "config.toml"), nil)
	if err == nil {
		err = pipeline.CheckRest(ctx, c, t.run.Dir())
	}
	switch {
	case ctx.Err() != nil:
		return nil, pipeline.ErrInterrupted
	case err != nil:
		return nil, fmt.Errorf("the configuration that the run has now that its turn has come: %w", err)
	}
	return c, nil
}

func (t *turn) await(ctx context.Context, queued func()) error {
	// Its status comes first: who is in the queue and does not wait is removed.
	if err := errors.Join(t.run.SetPhase(runs.Queued), t.run.Emit(runs.Event{Kind: runs.Queue})); err != nil {
		return err
	}
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for joined := false; ; joined = true {
		first := false
		err := changeQueue(ctx, t.root, func(ids []string) []string {
			if !joined { // an entry that is there already is from before the run was stopped
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
				return fmt.Errorf("launch: the machine's lock: %w", err)
			}
			if has {
				// That it does not wait any more takes it off the queue.
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
