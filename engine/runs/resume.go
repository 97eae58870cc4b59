package runs

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Resume loads the checkpoints from which a stage, or stages that are trained
// together, go on: those of the latest position at which each has one that can
// be used. It emits a warning for each corrupt checkpoint and "resume" for each
// stage. If there is no such position it returns nil and no error: the stages
// begin from nothing.
func (r *Run) Resume(stages ...string) ([]*Checkpoint, error) {
	var common []position
	for i, stage := range stages {
		ps, err := positions(stageDir(r.dir, stage))
		if err != nil {
			return nil, fmt.Errorf("runs: %w", err)
		}
		ps = places(ps)
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
			return all, r.resumed(all)
		}
	}
	return nil, nil
}

// loadAt loads the checkpoint of every stage at a place; nil if one cannot be
// used.
func (r *Run) loadAt(stages []string, at position) ([]*Checkpoint, error) {
	var all []*Checkpoint
	for _, stage := range stages {
		c, err := r.loadPlace(stage, at)
		if c == nil || err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// loadPlace loads a stage's checkpoint at a place, of the latest attempt that
// left one that can be used; nil if there is none.
func (r *Run) loadPlace(stage string, at position) (*Checkpoint, error) {
	ps, err := positions(stageDir(r.dir, stage))
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	for _, p := range slices.Backward(ps) {
		if p.place() != at {
			continue
		}
		c, err := loadPosition(r.dir, stage, p)
		if err == nil {
			return c, nil
		}
		e := Event{Kind: Warning, Stage: stage, Message: fmt.Sprintf("checkpoint cannot be used, the one before is tried: %v", err)}
		if err := r.Emit(e); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (r *Run) resumed(all []*Checkpoint) error {
	for _, c := range all {
		r.began = position{c.Epoch, c.Partial, 0}
		// The process may have been killed before it came to this.
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

// places returns the places of sorted positions, each once.
func places(ps []position) []position {
	var all []position
	for _, p := range ps {
		if n := len(all); n == 0 || all[n-1] != p.place() {
			all = append(all, p.place())
		}
	}
	return all
}

// intersect keeps the positions of a that are in b too; both are sorted.
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
