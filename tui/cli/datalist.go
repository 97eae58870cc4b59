package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"hatchery/datasets"
)

// DataList lists the data sets and whether they are on this machine.
type DataList struct{}

func (*DataList) Effect() Effect { return Reads }

func (*DataList) Run(ctx context.Context, a *App) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tTRAINING\tEVALUATION\tCLASSES\tHERE\tABOUT")
	for _, name := range datasets.Names() {
		info, err := datasets.Describe(name)
		if err != nil {
			return err
		}
		here := "yes"
		if name == datasets.Folder {
			here = "data.root"
		} else if err := datasets.Check(ctx, datasets.Source{Name: name}); ctx.Err() != nil {
			return ctx.Err()
		} else if errors.Is(err, fs.ErrNotExist) {
			here = "no"
		} else if err != nil {
			here = "damaged"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, formatCount(info.Train), formatCount(info.Eval), formatCount(len(info.Classes)), here, info.About)
	}
	return w.Flush()
}

// formatCount formats a number of images or classes. 0 stands for any number.
func formatCount(n int) string {
	if n == 0 {
		return "any"
	}
	return fmt.Sprint(n)
}
