package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"hatchery/engine/study"
	"hatchery/presets"
)

// StudyList lists the available studies and those that were started.
type StudyList struct{}

func (*StudyList) Effect() Effect { return Reads }

func (*StudyList) Run(ctx context.Context, a *App) error {
	all, err := presets.Studies()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STUDY\tCELLS\tTITLE\tPAPER")
	for _, s := range all {
		cells := fmt.Sprint(len(s.Cells(nil)))
		if s.Small != nil {
			cells += fmt.Sprintf(" (small: %d)", len(s.Small.Cells(nil)))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, cells, s.Title, s.Source)
	}
	started, broken, err := study.List(a.Root)
	if err != nil {
		return err
	}
	if len(started)+len(broken) > 0 {
		fmt.Fprintln(w, "\nSTARTED\tCELLS DONE\t\t")
	}
	for _, s := range started {
		results, err := results(ctx, s)
		if err != nil {
			return err
		}
		unread := ""
		for _, r := range results {
			if r.Err != nil {
				unread += ", " + r.Name
			}
		}
		if unread != "" {
			unread = ", cannot be read: " + unread[2:]
		}
		fmt.Fprintf(w, "%s\t%d of %d%s\t\t\n", s.ID, len(results)-unfinished(results), len(results), unread)
	}
	for _, b := range broken {
		fmt.Fprintf(w, "%s\tbroken: %s\t\t\n", b.ID, brief(b.Err, ""))
	}
	return w.Flush()
}
