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
	"hatchery/engine/method"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// health is the condition of a run: its state, whether a process executes it, and where its
// stages are executed.
type health struct {
	state     *runs.State
	live      runs.Liveness
	jobs      []slurm.StageJob
	locations map[string]watch.Location
}

// health returns the health of the run in dir. state is its state as read a moment ago.
func (a *App) health(ctx context.Context, dir string, state *runs.State) (h health, err error) {
	h.state = state.Clone()
	if h.live, err = runs.ReadLiveness(dir, time.Now()); err != nil {
		path := filepath.Join(dir, "status.json")
		if _, readable := runs.ReadStatus(dir); readable == nil || errors.Is(err, fs.ErrPermission) {
			return h, err // status.json is not the problem
		}
		fix := "rewrite it with: hatchery resume " + filepath.Base(dir)
		if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
			fix = "remove it with: rm -r " + path
		}
		fmt.Fprintf(a.Err, "warning: %v; this output is from the events of the run and may be incomplete; %s\n", err, fix)
		h.live = h.state.InferLiveness(dir)
	}
	h.live, h.jobs = askSlurm(ctx, dir, h.live)
	attempts, err := runs.ReadAttempts(dir, time.Now())
	if err != nil {
		return h, err
	}
	if h.ended() && h.state.Phase != h.live.Status.Phase {
		// The run may have ended since its events were read. A process writes its
		// last event before its last status.
		if h.state, err = runs.ReadState(ctx, dir); err != nil {
			return h, err
		}
	}
	h.state.Settle(h.live)
	h.state.ApplyOutcomes(dir)
	h.locations = watch.Locations(h.state, attempts, h.jobs)
	return h, nil
}

// ended reports whether the run has ended and no process is about to continue it.
func (h health) ended() bool {
	return h.live.Alive == runs.IsCrashed || h.live.Alive == runs.IsFinished && h.live.Status.Phase != runs.Waiting
}

// Status shows the progress of a run.
type Status struct {
	RunArg
	JSON bool `help:"Write the state as JSON: state, liveness, pid, host, folder, stage, progress (0 to 1), eta and heartbeat_age (seconds), message, and the stages with their curves."`
}

func (*Status) Effect() Effect { return Reads }

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
	method.FillStageInfo(h.state, c)
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
		PID          int      `json:"pid"`      // of the process that executes the run, or executed it last
		Host         string   `json:"host"`
		Folder       string   `json:"folder"`            // absolute
		Stage        string   `json:"stage,omitempty"`   // the present stage, or the last one
		Progress     float64  `json:"progress"`          // fraction of the planned work that is done, 0 to 1
		ETA          *float64 `json:"eta"`               // seconds until the run is done; null if unknown
		HeartbeatAge float64  `json:"heartbeat_age"`     // seconds since the last heartbeat
		Message      string   `json:"message,omitempty"` // why the run failed or stopped
		*runs.State
		Locations map[string]watch.Location `json:"where,omitempty"` // by stage, of stages that have or wait for a process of their own
	}{
		Word: h.live.String(), Liveness: string(h.live.Alive), PID: h.live.Status.PID, Host: h.live.Status.Host, Folder: dir,
		Stage: h.live.Status.Stage, Progress: h.state.Progress(), HeartbeatAge: h.live.Silent.Round(time.Millisecond).Seconds(),
		Message: cmp.Or(h.state.Message, h.live.Status.Message), State: h.state, Locations: h.locations,
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

// statusText writes the status of the run in dir as text.
func (a *App) statusText(dir string, c *presets.Config, h health) error {
	state, live := h.state, h.live
	elapsed := quantity.DurationTenths(state.Elapsed) + " so far"
	if state.Unrecorded() {
		elapsed = "time unknown"
	}
	fmt.Fprintf(a.Out, "%s: %s, %s done, %s", printable.Line(c.Name), printable.Line(live.String()), quantity.Percent(100*state.Progress()), elapsed)
	if eta, ok := state.ETA(time.Now()); ok && live.Alive == runs.IsRunning {
		fmt.Fprintf(a.Out, ", about %s left", quantity.DurationTenths(eta.Seconds()))
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
		elapsed := quantity.DurationTenths(st.Elapsed)
		if st.Unrecorded {
			best, elapsed = quantity.Unknown, quantity.Unknown
			if v, ok := st.Results[runs.Top1]; ok {
				top1 = quantity.Accuracy(v)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable.Line(st.Name), printable.Line(cmp.Or(h.locations[st.Name].String(), string(st.Phase))), epoch, loss, top1, best, elapsed)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if live.Alive == runs.IsRunning {
		for _, d := range state.Devices() {
			fmt.Fprintf(a.Out, "%s; trains %s\n", watch.DeviceLine(d), printable.Line(strings.Join(d.Stages, ", ")))
		}
	}
	shown := map[string]bool{} // every process that resumes the run repeats the warnings
	for _, n := range state.Warnings {
		line := message(runs.Event{Stage: n.Stage, Message: n.Message})
		if !shown[line] {
			fmt.Fprintf(a.Out, "warning: %s\n", line)
			shown[line] = true
		}
	}
	if state.Phase == runs.Failed {
		text := state.Message // from the status, if the error could not be written to the journal
		if n := len(state.Errors); n > 0 {
			text = state.Errors[n-1].Message
		}
		fmt.Fprintf(a.Out, "error: %s\n", text)
		if strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error()) {
			fmt.Fprintf(a.Out, "free some space, then resume with: hatchery resume %s\n", filepath.Base(dir))
		}
	} else if live.Alive == runs.IsFinished && live.Status.Phase == runs.Failed && h.jobs != nil {
		fmt.Fprintln(a.Out, live.Status.Message)
	}
	if state.Phase == runs.Finished {
		return writeResults(a.Out, c, state)
	}
	return nil
}

// askSlurm asks Slurm for the jobs of a submitted run. It returns them, and the liveness of
// the run as failed if stages are left but no job runs or waits. If Slurm does not answer,
// it returns live.
func askSlurm(ctx context.Context, dir string, live runs.Liveness) (runs.Liveness, []slurm.StageJob) {
	if live.Alive != runs.IsAway && live.Alive != runs.IsRunning || !slurm.Submitted(dir) {
		return live, nil
	}
	jobs, err := slurm.StageJobs(ctx, dir)
	if err != nil || live.Alive == runs.IsRunning || slurm.AnyActive(jobs) {
		return live, jobs
	}
	if state, err := runs.ReadState(ctx, dir); err == nil {
		live, _ = watch.SettleJobs(state, live, jobs)
	}
	return live, jobs
}
