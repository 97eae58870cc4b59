package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"hatchery/datasets"
)

// DataList lists the data sets and where they are.
type DataList struct{}

func (*DataList) Effect() Effect { return Looks }

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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, orAny(info.Train), orAny(info.Eval), orAny(len(info.Classes)), here, info.About)
	}
	return w.Flush()
}

// orAny writes a number that each folder of pictures has its own of.
func orAny(n int) string {
	if n == 0 {
		return "any"
	}
	return fmt.Sprint(n)
}
