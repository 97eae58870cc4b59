package watch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hatchery/engine/launch/slurm"
	"hatchery/engine/runs"
)

// Location describes where a stage with a process or Slurm job of its own runs, or why it
// does not run.
type Location struct {
	State     string // "running", "pending", "stalled", "crashed", "lost", ...
	Text      string // State and details: "running on node7", "pending (Priority)"
	Requeues  int    // how often the job was requeued
	Failed    bool   // the job has ended, but the stage is not done
	Dependent bool   // the job waits for the jobs of other stages
}

// String returns Text with the number of requeues: "pending (Priority), requeued twice".
// For the zero Location it returns "".
func (l Location) String() string { return l.Text + requeued(l.Requeues) }

// MarshalText implements encoding.TextMarshaler. It returns the text of String.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Locations returns the locations of the stages that have one, by stage. attempts is the
// result of runs.ReadAttempts, jobs that of slurm.Look.
func Locations(state *runs.State, attempts []runs.Liveness, jobs []slurm.StageJob) map[string]Location {
	locations := map[string]Location{}
	live := map[string]runs.Liveness{}
	for _, l := range attempts {
		live[l.Status.Stage] = l
	}
	byStage := map[string]slurm.StageJob{}
	for _, j := range jobs {
		byStage[j.Stage] = j
	}
	for i := range state.Stages {
		st := &state.Stages[i]
		l, attempted := live[st.Name]
		j, submitted := byStage[st.Name]
		if st.Phase == runs.Finished {
			continue
		}
		loc := Location{Requeues: st.Requeues}
		switch {
		case attempted && l.Alive == runs.IsRunning:
			loc.State, loc.Text = "running", "running on "+l.Status.Host
		case submitted && j.State == "RUNNING" && attempted && l.Alive == runs.IsStalled:
			loc.State, loc.Text = "stalled", fmt.Sprintf("%s on %s", l, j.Node)
		case submitted && st.Phase == runs.Failed && !j.Active():
			loc.State, loc.Text, loc.Failed = "failed", "failed", true
		case submitted && (st.Phase != runs.Stopped || j.Active()):
			loc.State, loc.Text, loc.Failed, loc.Dependent = j.Word(), j.String(), j.Failed(), j.Dependent()
		case attempted && l.Alive == runs.IsStalled:
			loc.State, loc.Text = "stalled", fmt.Sprintf("%s on %s", l, l.Status.Host)
		case attempted && l.Alive == runs.IsCrashed:
			loc.State, loc.Text = "crashed", "crashed on "+l.Status.Host
		default:
			continue
		}
		locations[st.Name] = loc
	}
	return locations
}

// Tally returns the number of stages in each state: "3 running, 4 pending".
func Tally(locations map[string]Location) string {
	counts := map[string]int{}
	for _, loc := range locations {
		counts[loc.State]++
	}
	parts := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(-cmp.Compare(counts[a], counts[b]), cmp.Compare(a, b))
	})
	for i, state := range parts {
		parts[i] = fmt.Sprintf("%d %s", counts[state], state)
	}
	return strings.Join(parts, ", ")
}

// SettleJobs returns the liveness of a submitted run as failed, and true, if stages are left
// but none of its jobs runs or waits. Otherwise it returns live and false.
func SettleJobs(state *runs.State, live runs.Liveness, jobs []slurm.StageJob) (runs.Liveness, bool) {
	if live.Alive != runs.IsAway || len(jobs) == 0 || slurm.AnyActive(jobs) {
		return live, false
	}
	type group struct {
		stages []string
		state  string // state of their jobs
		verb   bool   // state is a verb, "failed", rather than an adjective
	}
	var groups []group
	for _, j := range jobs {
		g := group{state: j.String()}
		if j.State == "FAILED" {
			g.state += ", see " + j.Output()
		}
		if st := state.Stage(j.Stage); st != nil && st.Phase == runs.Failed {
			g.state, g.verb = "failed", true
			for _, n := range state.Errors {
				if n.Stage == j.Stage {
					g.state = "failed: " + n.Message
				}
			}
		}
		i := slices.IndexFunc(groups, func(x group) bool { return x.state == g.state && x.verb == g.verb })
		if i < 0 {
			i = len(groups)
			groups = append(groups, g)
		}
		groups[i].stages = append(groups[i].stages, j.Stage)
	}
	var parts []string
	for _, g := range groups {
		verb := " is "
		if g.verb {
			verb = " "
		} else if len(g.stages) > 1 {
			verb = " are "
		}
		parts = append(parts, strings.Join(g.stages, ", ")+verb+g.state)
	}
	live.Alive, live.Status.Phase = runs.IsFinished, runs.Failed
	live.Status.Message = strings.Join(parts, "; ")
	return live, true
}

func requeued(times int) string {
	switch times {
	case 0:
		return ""
	case 1:
		return ", requeued once"
	case 2:
		return ", requeued twice"
	}
	return fmt.Sprintf(", requeued %d times", times)
}
