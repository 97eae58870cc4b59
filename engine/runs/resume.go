package runs

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Resume loads the checkpoints from which one stage, or several stages that are trained
// together, continue: those at the latest position at which all of the stages have a usable
// checkpoint. It emits a warning for each corrupt checkpoint and "resume" for each stage.
// If there is no such position, it returns nil and no error; the stages then start from
// scratch.
func (r *Run) Resume(stages ...string) ([]*Checkpoint, error) {
	var common []position
	for i, stage := range stages {
		ps, err := positions(stageDir(r.dir, stage))
		if err != nil {
			return nil, fmt.Errorf("runs: %w", err)
		}
		ps = withoutAttempts(ps)
		if i == 0 {
			common = ps
		}
		common = intersect(common, ps)
	}
	for len(common) > 0 {
		last := len(common) - 1
		all, err := r.loadAt(stages, common[last])
		common = common[:last]
		if err != nil {
			return nil, err
		}
		if all != nil {
			return all, r.reportResumed(all)
		}
	}
	return nil, nil
}

// loadAt loads the checkpoints of all stages at a position. It returns nil if one of them is
// not usable.
func (r *Run) loadAt(stages []string, p position) ([]*Checkpoint, error) {
	var all []*Checkpoint
	for _, stage := range stages {
		c, err := r.loadStageAt(stage, p)
		if c == nil || err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// loadStageAt loads the checkpoint of a stage at a position, written by any attempt. If
// several are usable, it returns that of the latest attempt; if none is, it returns nil.
func (r *Run) loadStageAt(stage string, want position) (*Checkpoint, error) {
	ps, err := positions(stageDir(r.dir, stage))
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	for _, p := range slices.Backward(ps) {
		if p.withoutAttempt() != want {
			continue
		}
		c, err := loadPosition(r.dir, stage, p)
		if err == nil {
			return c, nil
		}
		e := Event{Kind: Warning, Stage: stage, Message: fmt.Sprintf("cannot use a checkpoint; trying the previous one: %v", err)}
		if err := r.Emit(e); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (r *Run) reportResumed(all []*Checkpoint) error {
	for _, c := range all {
		r.resumedFrom = position{c.Epoch, c.Partial, 0}
		// The process that saved c may have been killed before it updated the best.
		err := r.checkBest(c)
		if err == nil {
			err = r.updateBest(c)
		}
		if err != nil {
			return fmt.Errorf("runs: best of %s: %w", c.Stage, err)
		}
		err = r.Emit(Event{
			Kind: Resume, Stage: c.Stage, Epoch: c.Epoch, Step: c.Step,
			File: filepath.ToSlash(filepath.Join(stagesDir, c.Stage, filepath.Base(c.Path))),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withoutAttempts applies withoutAttempt to sorted positions and removes duplicates.
func withoutAttempts(ps []position) []position {
	var unique []position
	for _, p := range ps {
		if n := len(unique); n == 0 || unique[n-1] != p.withoutAttempt() {
			unique = append(unique, p.withoutAttempt())
		}
	}
	return unique
}

// intersect returns the positions of a that are also in b.
func intersect(a, b []position) []position {
	var both []position
	for _, p := range a {
		for _, q := range b {
			if p == q {
				both = append(both, p)
			}
		}
	}
	return both
}
