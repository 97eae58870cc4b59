package cli

import (
	"context"
	"fmt"
)

// StudyStop stops a study of another process after it has saved a checkpoint.
type StudyStop struct{ StudyArg }

func (*StudyStop) Effect() Effect { return Acts }

func (cmd *StudyStop) Run(ctx context.Context, a *App) error {
	s, err := a.findStudy(cmd.Study)
	if err != nil {
		return err
	}
	if err := s.Stop(ctx); err != nil {
		return err
	}
	results, err := results(ctx, s)
	if err != nil {
		return err
	}
	if unfinished(results) == 0 {
		fmt.Fprintln(a.Out, "the study is done")
		return nil
	}
	fmt.Fprintf(a.Out, "stopped; every finished step is in a checkpoint\nresume with: hatchery study resume %s\n", s.ID)
	return nil
}
