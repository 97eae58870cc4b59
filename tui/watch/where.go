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

// Location says where a stage is that has a process of its own, or that waits for one in
// Slurm's queue, or why it does not run.
type Location struct {
	Word      string // its state: "running", "pending", "stalled", "crashed", "lost"
	Text      string // begins with Word: "running on node7", "pending (Priority)"
	Requeues  int    // of its job
	Failed    bool   // its job has ended without ending the stage
	Dependent bool   // its job waits for those of other stages
}

// String is Text with the number of requeues: "pending (Priority), requeued twice". It is
// empty for the zero Location.
func (l Location) String() string { return l.Text + requeued(l.Requeues) }

// MarshalText is what JSON has of a Location.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Where returns the location of each stage that has one. attempts are
// runs.ReadAttempts', places slurm.Look's.
func Where(state *runs.State, attempts []runs.Liveness, places []slurm.StageJob) map[string]Location {
	where := map[string]Location{}
	live := map[string]runs.Liveness{}
	for _, l := range attempts {
		live[l.Status.Stage] = l
	}
	jobs := map[string]slurm.StageJob{}
	for _, p := range places {
		jobs[p.Stage] = p
	}
	for i := range state.Stages {
		st := &state.Stages[i]
		l, has := live[st.Name]
		p, submitted := jobs[st.Name]
		if st.Phase == runs.Finished {
			continue
		}
		at := Location{Requeues: st.Requeues}
		switch {
		case has && l.Alive == runs.IsRunning:
			at.Word, at.Text = "running", "running on "+l.Status.Host
		case submitted && p.State == "RUNNING" && has && l.Alive == runs.IsStalled:
			at.Word, at.Text = "stalled", fmt.Sprintf("%s on %s", l, p.Node)
		case submitted && st.Phase == runs.Failed && !p.Active():
			at.Word, at.Text, at.Failed = "failed", "failed", true
		case submitted && (st.Phase != runs.Stopped || p.Active()):
			at.Word, at.Text, at.Failed, at.Dependent = p.Word(), p.String(), p.Failed(), p.Dependent()
		case has && l.Alive == runs.IsStalled:
			at.Word, at.Text = "stalled", fmt.Sprintf("%s on %s", l, l.Status.Host)
		case has && l.Alive == runs.IsCrashed:
			at.Word, at.Text = "crashed", "crashed on "+l.Status.Host
		default:
			continue
		}
		where[st.Name] = at
	}
	return where
}

// Tally counts stages by their state: "3 running, 4 pending".
func Tally(where map[string]Location) string {
	counts := map[string]int{}
	for _, at := range where {
		counts[at.Word]++
	}
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(-cmp.Compare(counts[a], counts[b]), cmp.Compare(a, b))
	})
	for i, w := range words {
		words[i] = fmt.Sprintf("%d %s", counts[w], w)
	}
	return strings.Join(words, ", ")
}

// GivenUp is the health of a run that Slurm has, whose jobs are all gone although
// there are stages left; false if it is as live says.
func GivenUp(state *runs.State, live runs.Liveness, places []slurm.StageJob) (runs.Liveness, bool) {
	if live.Alive != runs.IsAway || len(places) == 0 || slurm.AnyActive(places) {
		return live, false
	}
	type group struct {
		stages []string
		state  string // what became of them
		verb   bool   // state is a verb, "failed", rather than an adjective
	}
	var groups []group
	for _, p := range places {
		g := group{state: p.String()}
		if p.State == "FAILED" {
			g.state += ", see " + p.Output()
		}
		if st := state.Stage(p.Stage); st != nil && st.Phase == runs.Failed {
			g.state, g.verb = "failed", true
			for _, n := range state.Errors {
				if n.Stage == p.Stage {
					g.state = "failed: " + n.Message
				}
			}
		}
		i := slices.IndexFunc(groups, func(x group) bool { return x.state == g.state && x.verb == g.verb })
		if i < 0 {
			i = len(groups)
			groups = append(groups, g)
		}
		groups[i].stages = append(groups[i].stages, p.Stage)
	}
	var words []string
	for _, g := range groups {
		verb := " is "
		if g.verb {
			verb = " "
		} else if len(g.stages) > 1 {
			verb = " are "
		}
		words = append(words, strings.Join(g.stages, ", ")+verb+g.state)
	}
	live.Alive, live.Status.Phase = runs.IsFinished, runs.Failed
	live.Status.Message = strings.Join(words, "; ")
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
