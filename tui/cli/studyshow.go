package cli

import (
	"context"
	"fmt"

	"hatchery/presets"
)

// StudyShow writes the file of a study.
type StudyShow struct {
	Study string `arg:"" help:"A study's name."`
}

func (*StudyShow) Effect() Effect { return Reads }

func (cmd *StudyShow) Run(_ context.Context, a *App) error {
	source, err := presets.StudySource(cmd.Study)
	if err != nil {
		return badInput{err}
	}
	_, err = fmt.Fprint(a.Out, source)
	return err
}
