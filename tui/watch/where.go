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

// Where says of each stage that has a process of its own, or waits for one in
// Slurm's queue, where it is or why it does not run: "running on node7",
// "pending (Priority), requeued twice", "lost". attempts are runs.ReadAttempts',
// places slurm.Look's.
func Where(state *runs.State, attempts []runs.Liveness, places []slurm.Place) map[string]string {
	where := map[string]string{}
	live := map[string]runs.Liveness{}
	for _, l := range attempts {
		live[l.Status.Stage] = l
	}
	jobs := map[string]slurm.Place{}
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
		text := ""
		switch {
		case has && l.Alive == runs.IsRunning:
			text = "running on " + l.Status.Host
		case submitted && p.State == "RUNNING" && has && l.Alive == runs.IsStalled:
			text = fmt.Sprintf("%s on %s", l, p.Node)
		case submitted && st.Phase == runs.Failed && !p.Active():
			text = string(runs.Failed)
		case submitted && (st.Phase != runs.Stopped || p.Active()):
			text = p.String()
		case has && l.Alive == runs.IsStalled:
			text = fmt.Sprintf("%s on %s", l, l.Status.Host)
		case has && l.Alive == runs.IsCrashed:
			text = fmt.Sprintf("crashed on %s", l.Status.Host)
		default:
			continue
		}
		where[st.Name] = text + requeued(st.Requeues)
	}
	return where
}

// Gone says of a word of Where's that the stage's job has ended without ending
// the stage.
func Gone(where string) bool {
	for _, w := range []string{"failed", "lost", "timeout", "node_fail", "out_of_memory", "boot_fail", "deadline"} {
		if rest, ok := strings.CutPrefix(where, w); ok && (rest == "" || rest[0] == ' ' || rest[0] == ',') {
			return true
		}
	}
	return false
}

// Tally counts the stages of Where by what they do: "3 running, 4 pending".
func Tally(where map[string]string) string {
	counts := map[string]int{}
	for _, w := range where {
		word, _, _ := strings.Cut(strings.ReplaceAll(w, ",", " "), " ")
		counts[word]++
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
func GivenUp(state *runs.State, live runs.Liveness, places []slurm.Place) (runs.Liveness, bool) {
	if live.Alive != runs.IsAway || len(places) == 0 || slurm.AnyActive(places) {
		return live, false
	}
	type fate struct {
		stages []string
		said   string
	}
	var fates []fate // in order; stages of which the same is to be said are one
	for _, p := range places {
		said := p.String()
		if p.State == "FAILED" {
			said += ", see " + p.Output()
		}
		if st := state.Stage(p.Stage); st != nil && st.Phase == runs.Failed {
			said = "failed"
			for _, n := range state.Errors {
				if n.Stage == p.Stage {
					said = "failed: " + n.Message
				}
			}
		}
		i := slices.IndexFunc(fates, func(f fate) bool { return f.said == said })
		if i < 0 {
			i = len(fates)
			fates = append(fates, fate{said: said})
		}
		fates[i].stages = append(fates[i].stages, p.Stage)
	}
	var words []string
	for _, f := range fates {
		verb := " is "
		if strings.HasPrefix(f.said, "failed: ") || f.said == "failed" {
			verb = " "
		} else if len(f.stages) > 1 {
			verb = " are "
		}
		words = append(words, strings.Join(f.stages, ", ")+verb+f.said)
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
