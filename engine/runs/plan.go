package runs

import "slices"

// plan takes the stages to come.
func (s *State) plan(plan []StagePlan) {
	for i, p := range plan {
		st := s.stage(p.Stage)
		st.Method, st.StageInfo, st.cost = p.Method, p.StageInfo, p.Cost
		if st.Attempts == 0 { // it may have decided otherwise when it began
			st.Epochs, st.Steps = p.Epochs, p.Steps
		}
		// The plan's order, whatever came before.
		from := slices.IndexFunc(s.Stages, func(x StageState) bool { return x.Name == p.Stage })
		moved := s.Stages[from]
		s.Stages = slices.Insert(slices.Delete(s.Stages, from, from+1), min(i, len(s.Stages)-1), moved)
	}
}

// only sets aside the stages that are not in the plan, and drops the results of methods
// that are not in it. They belong to an earlier configuration of the run. It does
// nothing if the event has no plan.
func (s *State) only(plan []StagePlan) {
	if len(plan) == 0 {
		return
	}
	var in []StageState
	for _, st := range s.Stages {
		if slices.ContainsFunc(plan, func(p StagePlan) bool { return p.Stage == st.Name }) {
			in = append(in, st)
		} else {
			s.former = append(s.former, st)
		}
	}
	s.Stages = in
	s.Results = slices.DeleteFunc(s.Results, func(r MethodResult) bool {
		return !slices.ContainsFunc(plan, func(p StagePlan) bool { return p.Method == r.Method || p.Method == "" })
	})
}
