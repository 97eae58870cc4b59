package method

import (
	"slices"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// Described reports whether the journal of a run says of every stage what it is. Those
// of older versions do not.
func Described(s *runs.State) bool { return !slices.ContainsFunc(s.Stages, undescribed) }

// Complete fills in what the stages of a run are where its journal does not say so.
// c is the configuration of the run.
func Complete(s *runs.State, c *presets.Config) {
	if Described(s) {
		return
	}
	stages := Stages(c)
	for i := range s.Stages {
		st := &s.Stages[i]
		if at := index(stages, st.Name); at >= 0 && undescribed(*st) {
			st.StageInfo = stages[at].Describe(c)
		}
	}
}

func undescribed(s runs.StageState) bool { return s.Kind == "" }
