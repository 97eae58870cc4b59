package method

import (
	"slices"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// HasStageInfo reports whether the journal of a run describes every stage (runs.StageInfo).
// Journals of older versions do not.
func HasStageInfo(s *runs.State) bool { return !slices.ContainsFunc(s.Stages, lacksStageInfo) }

// FillStageInfo sets the StageInfo of those stages of a run that lack it. c is the
// configuration of the run.
func FillStageInfo(s *runs.State, c *presets.Config) {
	if HasStageInfo(s) {
		return
	}
	stages := Stages(c)
	for i := range s.Stages {
		st := &s.Stages[i]
		if at := index(stages, st.Name); at >= 0 && lacksStageInfo(*st) {
			st.StageInfo = stages[at].Describe(c)
		}
	}
}

func lacksStageInfo(s runs.StageState) bool { return s.Kind == "" }
