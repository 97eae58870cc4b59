package runs

import "slices"

// applyPlan adds the planned stages and orders the stages as in the plan.
func (s *State) applyPlan(plan []StagePlan) {
	for i, p := range plan {
		st := s.stage(p.Stage)
		st.Method, st.StageInfo, st.cost = p.Method, p.StageInfo, p.Cost
		if st.Attempts == 0 { // a stage that has started may have decided on other numbers
			st.Epochs, st.Steps = p.Epochs, p.Steps
		}
		from := slices.IndexFunc(s.Stages, func(x StageState) bool { return x.Name == p.Stage })
		moved := s.Stages[from]
		s.Stages = slices.Insert(slices.Delete(s.Stages, from, from+1), min(i, len(s.Stages)-1), moved)
	}
}

// keepPlanned moves stages that are not in the plan to s.former, and drops the results of
// methods that are not in it. They belong to an earlier configuration of the run. It does
// nothing if the plan is empty.
func (s *State) keepPlanned(plan []StagePlan) {
	if len(plan) == 0 {
		return
	}
	var planned []StageState
	for _, st := range s.Stages {
		if slices.ContainsFunc(plan, func(p StagePlan) bool { return p.Stage == st.Name }) {
			planned = append(planned, st)
		} else {
			s.former = append(s.former, st)
		}
	}
	s.Stages = planned
	s.Results = slices.DeleteFunc(s.Results, func(r MethodResult) bool {
		return !slices.ContainsFunc(plan, func(p StagePlan) bool { return p.Method == r.Method || p.Method == "" })
	})
}
