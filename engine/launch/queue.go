package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
)

// A queued run is a process that waits. Beside the runs, for each machine, lie
// ".queue-<host>", a JSON list of their ids in the order in which they will
// begin, and ".machine-<host>", locked by every run that is executed, by one
// from the queue for itself alone. So nobody has to start the next run, and a
// run that crashes makes room like one that is done.
//
// A run that is started without the queue begins at once, and those in the
// queue wait for it, unless one of them was under way then.

// Queued lists the runs under root that wait on this machine, the next first.
func Queued(root string) ([]string, error) {
	var ids []string
	err := changeQueue(root, func(present []string) []string {
		ids = present
		return present
	})
	return ids, err
}

// MoveQueued moves a queued run by so many places, forwards if by is negative.
func MoveQueued(root, id string, by int) error {
	found := false
	err := changeQueue(root, func(ids []string) []string {
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

// changeQueue lets change edit the queue of those that still wait.
func changeQueue(root string, change func(ids []string) []string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("launch: the queue: %w", err)
		}
	}()
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		change(nil)
		return nil
	}
	path := queuePath(root, "queue")
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Close()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var ids []string
	if len(data) > 0 {
		if err := json.Unmarshal(data, &ids); err != nil {
			return fmt.Errorf("%s: %w; delete it to begin a new one", path, err)
		}
	}
	seen := map[string]bool{}
	waiting := change(slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again || filepath.Base(id) != id || !waits(filepath.Join(root, id)) // "run/" would be run once more
	}))
	if slices.Equal(waiting, ids) {
		return nil
	}
	if data, err = json.Marshal(waiting); err != nil {
		return err
	}
	return renameio.WriteFile(path, append(data, '\n'), 0o600)
}

// waits says whether the run in dir has a process that waits for its turn.
func waits(dir string) bool {
	live, err := runs.ReadLiveness(dir, time.Now())
	return err == nil && live.Status.Phase == runs.Queued && (live.Alive == runs.IsRunning || live.Alive == runs.IsStalled)
}

// turn is a run's right to the machine.
type turn struct {
	run     *runs.Run
	root    string
	machine *flock.Flock
}

func newTurn(run *runs.Run) *turn {
	root := filepath.Dir(run.Dir())
	return &turn{run, root, flock.New(queuePath(root, "machine"), flock.SetPermissions(0o600))}
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

// wait queues the run, calls queued, and returns when the run has the machine.
// If ctx ends first, the run leaves the queue, and the error wraps
// pipeline.ErrInterrupted. Like pipeline.Execute it writes into the run why it
// fails.
func (t *turn) wait(ctx context.Context, queued func()) error {
	err := t.await(ctx, queued)
	var e runs.Event
	how := runs.Failed
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pipeline.ErrInterrupted):
		e, how = runs.Event{Kind: runs.Interrupted, Message: "taken out of the queue"}, runs.Stopped
	default:
		e = runs.Event{Kind: runs.Error, Message: err.Error()}
	}
	return errors.Join(err, t.run.Emit(e), t.run.Finish(how, e.Message))
}

func (t *turn) await(ctx context.Context, queued func()) error {
	// Its status comes first: who is in the queue and does not wait is removed.
	if err := errors.Join(t.run.SetPhase(runs.Queued), t.run.Emit(runs.Event{Kind: runs.Queue})); err != nil {
		return err
	}
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for {
		first := false
		err := changeQueue(t.root, func(ids []string) []string {
			if !slices.Contains(ids, t.run.ID()) {
				ids = append(ids, t.run.ID())
			}
			first = ids[0] == t.run.ID()
			return ids
		})
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
