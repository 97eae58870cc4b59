package cli

import "context"

// StudyResume resumes a study that was interrupted or killed.
type StudyResume struct {
	StudyArg
	StudyProcess
}

func (cmd *StudyResume) Effect() Effect { return cmd.effect() }

func (cmd *StudyResume) Run(ctx context.Context, a *App) error {
	s, err := a.findStudy(cmd.Study)
	if err != nil {
		return err
	}
	return a.processStudy(ctx, s, cmd.StudyProcess)
}
