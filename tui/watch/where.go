package watch

import (
	"fmt"

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
