package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
	"hatchery/tui/watch"
)

// health is what is known of a run: the state from its events, whether a process
// executes it, and where its stages are executed.
type health struct {
	state  *runs.State
	live   runs.Liveness
	places []slurm.Place
	where  map[string]watch.Location
}

// health finds out about the run in dir, whose state was read a moment ago.
func (a *App) health(ctx context.Context, dir string, state *runs.State) (h health, err error) {
	h.state = state.Clone()
	if h.live, err = runs.ReadLiveness(dir, time.Now()); err != nil {
		path := filepath.Join(dir, "status.json")
		if _, readable := runs.ReadStatus(dir); readable == nil || errors.Is(err, fs.ErrPermission) {
			return h, err // it is something else that is wrong
		}
		mend := "write it anew with: hatchery resume " + filepath.Base(dir)
		if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
			mend = "remove it with: rm -r " + path
		}
		fmt.Fprintf(a.Err, "warning: %v; what is shown is from the events of the run, as far as they tell; %s\n", err, mend)
		h.live = h.state.Presume(dir)
	}
	h.live, h.places = atSlurm(ctx, dir, h.live)
	attempts, err := runs.ReadAttempts(dir, time.Now())
	if err != nil {
		return h, err
	}
	if h.over() && h.state.Phase != h.live.Status.Phase {
		// The run may have ended since its events were read. A process writes its
		// last event before its last status.
		if h.state, err = runs.ReadState(dir); err != nil {
			return h, err
		}
	}
	h.state.Settle(h.live)
	h.state.TakeEnds(dir)
	h.where = watch.Where(h.state, attempts, h.places)
	return h, nil
}

// over reports whether the run has ended and no process is about to continue it.
func (h health) over() bool {
	return h.live.Alive == runs.IsCrashed || h.live.Alive == runs.IsFinished && h.live.Status.Phase != runs.Waiting
}

// Status shows how far a run is.
func (a *App) Status(ctx context.Context, name string, asJSON bool) error {
	dir, c, err := a.loadRun(name)
	if err != nil {
		return err
	}
	state, err := runs.ReadState(dir)
	if err != nil {
		return err
	}
	h, err := a.health(ctx, dir, state)
	if err != nil {
		return err
	}
	if !asJSON {
		return a.statusText(dir, c, h)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	return statusJSON(a.Out, dir, h, time.Now())
}

// statusJSON writes the status of the run in dir as one JSON object, which includes
// the fields of runs.State.
func statusJSON(out io.Writer, dir string, h health, now time.Time) error {
	s := struct {
		Word         string   `json:"state"`    // one word, as `status` shows it: running, stalled, crashed, done, ...
		Liveness     string   `json:"liveness"` // runs.Alive
		PID          int      `json:"pid"`      // of the process that executes the run, or was the last to do so
		Host         string   `json:"host"`
		Folder       string   `json:"folder"`            // absolute
		Stage        string   `json:"stage,omitempty"`   // where the run is, or ended
		Progress     float64  `json:"progress"`          // fraction of the planned work that is done, 0 to 1
		ETA          *float64 `json:"eta"`               // seconds until the run is done; null if not known
		HeartbeatAge float64  `json:"heartbeat_age"`     // seconds since the last heartbeat
		Message      string   `json:"message,omitempty"` // why the run failed or stopped
		*runs.State
		Where map[string]watch.Location `json:"where,omitempty"` // by stage, for stages that have, or wait for, a process of their own
	}{
		Word: h.live.String(), Liveness: string(h.live.Alive), PID: h.live.Status.PID, Host: h.live.Status.Host, Folder: dir,
		Stage: h.live.Status.Stage, Progress: h.state.Progress(), HeartbeatAge: h.live.Silent.Round(time.Millisecond).Seconds(),
		Message: cmp.Or(h.state.Message, h.live.Status.Message), State: h.state, Where: h.where,
	}
	if h.live.Alive == runs.IsStalled {
		s.Word = string(h.live.Alive) // without the time that String adds
	}
	if eta, ok := h.state.ETA(now); ok && h.live.Alive == runs.IsRunning {
		seconds := eta.Round(time.Millisecond).Seconds()
		s.ETA = &seconds
	}
	w := json.NewEncoder(out)
	w.SetIndent("", "  ")
	return w.Encode(s)
}
