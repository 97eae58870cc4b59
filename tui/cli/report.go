package cli

import (
	"context"
	"errors"
	"fmt"

	"hatchery/tui/report"
)

// Report writes the results of a run or a study as a web page, and as CSV files.
type Report struct {
	Name string `arg:"" help:"A run's or a study's name, or the beginning of one."`
	Out  string `short:"o" placeholder:"FILE" help:"File for the page; by default NAME.html in the working directory."`
	CSV  string `name:"csv" placeholder:"DIR" help:"Also write tables and curves as CSV files to this folder."`
}

func (*Report) Effect() Effect { return Reads }

func (cmd *Report) Run(ctx context.Context, a *App) error {
	d, err := a.document(ctx, cmd.Name)
	if err != nil {
		return err
	}
	out, err := expandHome(cmd.Out)
	if err != nil {
		return err
	}
	csv, err := expandHome(cmd.CSV)
	if err != nil {
		return err
	}
	if out == "" {
		out = d.ID + ".html"
	}
	if err := d.Save(out); err != nil {
		return err
	}
	fmt.Fprintln(a.Out, out)
	if csv == "" {
		return nil
	}
	paths, err := d.CSV(csv)
	for _, p := range paths {
		fmt.Fprintln(a.Out, p)
	}
	return err
}

// document returns the report of the run or study with the given name. Runs take
// precedence.
func (a *App) document(ctx context.Context, name string) (*report.Document, error) {
	dir, runErr := a.findRun(name)
	if runErr == nil {
		return report.Run(ctx, dir)
	}
	s, err := a.findStudy(name)
	if err != nil {
		return nil, badInput{errors.Join(runErr, err)}
	}
	return report.Study(ctx, s)
}
