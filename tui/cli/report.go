package cli

import (
	"errors"
	"fmt"

	"hatchery/tui/report"
)

// Report writes what a run or a study came to as a web page, and with csv as
// CSV files into that folder.
func (a *App) Report(name, out, csv string) error {
	d, err := a.document(name)
	if err != nil {
		return err
	}
	if out, err = expanded(out); err != nil {
		return err
	}
	if csv, err = expanded(csv); err != nil {
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

// document finds a run or a study of that name; runs go first.
func (a *App) document(name string) (*report.Document, error) {
	dir, runErr := a.findRun(name)
	if runErr == nil {
		return report.Run(dir)
	}
	s, err := a.findStudy(name)
	if err != nil {
		return nil, badInput{errors.Join(runErr, err)}
	}
	return report.Study(s)
}
