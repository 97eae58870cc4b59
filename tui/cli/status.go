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
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// health is what is known of a run: the state from its events, whether a process
// executes it, and where its stages are executed.
type health struct {
	state  *runs.State
	live   runs.Liveness
	places []slurm.StageJob
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
		h.live = h.state.InferLiveness(dir)
	}
	h.live, h.places = atSlurm(ctx, dir, h.live)
	attempts, err := runs.ReadAttempts(dir, time.Now())
	if err != nil {
		return h, err
	}
	if h.over() && h.state.Phase != h.live.Status.Phase {
		// The run may have ended since its events were read. A process writes its
		// last event before its last status.
		if h.state, err = runs.ReadState(ctx, dir); err != nil {
			return h, err
		}
	}
	h.state.Settle(h.live)
	h.state.ApplyOutcomes(dir)
	h.where = watch.Where(h.state, attempts, h.places)
	return h, nil
}

// over reports whether the run has ended and no process is about to continue it.
func (h health) over() bool {
	return h.live.Alive == runs.IsCrashed || h.live.Alive == runs.IsFinished && h.live.Status.Phase != runs.Waiting
}

// Status shows how far a run is.
type Status struct {
	RunArg
	JSON bool `help:"Write the state as JSON: state, liveness, pid, host, folder, stage, progress (0 to 1), eta and heartbeat_age (seconds), message, and the stages with their curves."`
}

func (*Status) Effect() Effect { return Looks }

func (cmd *Status) Run(ctx context.Context, a *App) error {
	dir, c, err := a.loadRun(cmd.Name)
	if err != nil {
		return err
	}
	state, err := runs.ReadState(ctx, dir)
	if err != nil {
		return err
	}
	h, err := a.health(ctx, dir, state)
	if err != nil {
		return err
	}
	if !cmd.JSON {
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

// statusText shows how far the run in dir is.
func (a *App) statusText(dir string, c *presets.Config, h health) error {
	state, live, places, where := h.state, h.live, h.places, h.where
	took := quantity.DurationTenths(state.Elapsed) + " so far"
	if state.Unrecorded() {
		took = "time not known"
	}
	fmt.Fprintf(a.Out, "%s: %s, %s done, %s", printable.Line(c.Name), printable.Line(live.String()), quantity.Percent(100*state.Progress()), took)
	if eta, ok := state.ETA(time.Now()); ok && live.Alive == runs.IsRunning {
		fmt.Fprintf(a.Out, ", ready in %s", quantity.DurationTenths(eta.Seconds()))
	}
	fmt.Fprintln(a.Out)
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tSTATE\tEPOCH\tLOSS\tTOP-1\tBEST\tELAPSED")
	for i := range state.Stages {
		st := &state.Stages[i]
		epoch, loss, top1, best := "", "", "", ""
		if st.Epochs > 0 {
			epoch = fmt.Sprintf("%d/%d", st.Epoch, st.Epochs)
		}
		if v, ok := st.Last[runs.Loss]; ok {
			loss = fmt.Sprintf("%.4f", v)
		}
		if v, ok := st.Last[runs.Top1]; ok {
			top1 = quantity.Accuracy(v)
		}
		if p, ok := st.Best(); ok {
			best = fmt.Sprintf("%s (%d)", quantity.Accuracy(p.Values[runs.Top1]), p.Epoch)
		}
		took := quantity.DurationTenths(st.Elapsed)
		if st.Unrecorded {
			best, took = quantity.Unknown, quantity.Unknown
			if v, ok := st.Results[runs.Top1]; ok {
				top1 = quantity.Accuracy(v)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable.Line(st.Name), printable.Line(cmp.Or(where[st.Name].String(), string(st.Phase))), epoch, loss, top1, best, took)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if live.Alive == runs.IsRunning {
		for _, d := range state.Devices() {
			fmt.Fprintf(a.Out, "%s; trains %s\n", watch.DeviceLine(d), printable.Line(strings.Join(d.Stages, ", ")))
		}
	}
	shown := map[string]bool{} // each process that resumes the run repeats the warnings
	for _, n := range state.Warnings {
		line := about(runs.Event{Stage: n.Stage, Message: n.Message})
		if !shown[line] {
			fmt.Fprintf(a.Out, "warning: %s\n", line)
			shown[line] = true
		}
	}
	if state.Phase == runs.Failed {
		message := state.Message // of the status where the journal could not take the error
		if n := len(state.Errors); n > 0 {
			message = state.Errors[n-1].Message
		}
		fmt.Fprintf(a.Out, "error: %s\n", message)
		if strings.Contains(message, syscall.ENOSPC.Error()) || strings.Contains(message, syscall.EDQUOT.Error()) {
			fmt.Fprintf(a.Out, "free some space, then: hatchery resume %s\n", filepath.Base(dir))
		}
	} else if live.Alive == runs.IsFinished && live.Status.Phase == runs.Failed && places != nil {
		fmt.Fprintln(a.Out, live.Status.Message)
	}
	if state.Phase == runs.Finished {
		return table(a.Out, c, state)
	}
	return nil
}

// atSlurm adds what Slurm says of a run that is in its hands: it may have given
// it up. Where Slurm does not answer there is what the run's folder says.
func atSlurm(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, []slurm.StageJob) {
	if live.Alive != runs.IsAway && live.Alive != runs.IsRunning || !slurm.Submitted(dir) {
		return live, nil
	}
	places, err := slurm.StageJobs(ctx, dir)
	if err != nil || live.Alive == runs.IsRunning || slurm.AnyActive(places) {
		return live, places
	}
	if state, err := runs.ReadState(ctx, dir); err == nil {
		live, _ = watch.GivenUp(state, live, places)
	}
	return live, places
}
