package runs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"hatchery/engine/runs/safetensors"
)

const bestName = "best.safetensors"

// updateBest makes c the best checkpoint of its stage, unless the present one has
// at least the same score.
func (r *Run) updateBest(c *Checkpoint) error {
	if math.IsNaN(c.Score) {
		return nil
	}
	r.scoring.Lock()
	defer r.scoring.Unlock()
	have, err := r.bestScore(c)
	if err != nil || have >= c.Score {
		return err
	}
	return r.linkBest(c.Stage, c.Path, c.Score)
}

// linkBest makes best.safetensors the file at path.
func (r *Run) linkBest(stage, path string, score float64) error {
	dir := stageDir(r.dir, stage)
	temp := filepath.Join(dir, tempName(tempBest, r.attempt))
	if err := r.disk.remove(temp); err != nil {
		return err
	}
	if err := r.disk.link(path, temp); err != nil {
		return err
	}
	if err := r.disk.rename(temp, filepath.Join(dir, bestName)); err != nil {
		return err
	}
	if err := r.disk.syncDir(dir); err != nil {
		return err
	}
	r.best[stage] = score
	return nil
}

// bestScore returns the score of the stage's best checkpoint, -Inf if there is none.
// The first call verifies the whole file, because a damaged one could keep all later
// checkpoints from becoming the best, or be replaced by a worse one silently. c is a
// checkpoint of the stage that is known to be whole.
func (r *Run) bestScore(c *Checkpoint) (float64, error) {
	if score, ok := r.best[c.Stage]; ok {
		return score, nil
	}
	path := filepath.Join(stageDir(r.dir, c.Stage), bestName)
	score := math.Inf(-1)
	best, err := verify(path, c.Stage)
	switch {
	case err == nil && !math.IsNaN(best.Score):
		score = best.Score
	case errors.Is(err, fs.ErrNotExist):
	default:
		if err == nil {
			err = fmt.Errorf("%s: this checkpoint was never evaluated", path)
		}
		if score, err = r.rebuildBest(c, err); err != nil {
			return 0, err
		}
	}
	r.best[c.Stage] = score
	return score, nil
}

// rebuildBest replaces a damaged best checkpoint by the best of the remaining ones
// and emits a warning. It returns the score of that one, -Inf if none was evaluated.
func (r *Run) rebuildBest(c *Checkpoint, damage error) (float64, error) {
	dir := stageDir(r.dir, c.Stage)
	ps, err := positions(dir)
	if err != nil {
		return 0, err
	}
	var left []*Checkpoint
	for _, p := range ps { // earliest first, so that the stable sort puts the earliest of equals first
		h, err := loadHeader(filepath.Join(dir, p.fileName()))
		if err == nil && !math.IsNaN(h.Score) {
			left = append(left, h)
		}
	}
	slices.SortStableFunc(left, func(a, b *Checkpoint) int { return cmp.Compare(b.Score, a.Score) })
	now, score := "no other checkpoint was evaluated; the next one that is evaluated becomes the best", math.Inf(-1)
	for _, h := range left {
		if h.Path != c.Path {
			if _, err := verify(h.Path, c.Stage); err != nil {
				continue
			}
		}
		if err := r.linkBest(c.Stage, h.Path, h.Score); err != nil {
			return 0, err
		}
		now, score = fmt.Sprintf("the best of the others, after epoch %d, takes its place", h.Epoch), h.Score
		break
	}
	if math.IsInf(score, -1) {
		if err := r.disk.remove(filepath.Join(dir, bestName)); err != nil {
			return 0, err
		}
	}
	e := Event{Kind: Warning, Stage: c.Stage, Message: fmt.Sprintf("the best checkpoint cannot be used: %v; %s", damage, now)}
	return score, r.Emit(e)
}

// verify reads the whole checkpoint file of a stage, and keeps no tensors.
func verify(path, stage string) (*Checkpoint, error) {
	c, err := readCheckpoint(path, safetensors.Verify)
	if err == nil && c.Stage != stage {
		return nil, fmt.Errorf("runs: %s: holds a checkpoint of stage %s", path, c.Stage)
	}
	return c, err
}

// checkBest verifies the best checkpoint of a stage that resumes from c.
func (r *Run) checkBest(c *Checkpoint) error {
	r.scoring.Lock()
	defer r.scoring.Unlock()
	best, err := os.Stat(filepath.Join(stageDir(r.dir, c.Stage), bestName))
	if err == nil && !math.IsNaN(c.Score) {
		if own, err := os.Stat(c.Path); err == nil && os.SameFile(best, own) {
			r.best[c.Stage] = c.Score // c has been read
			return nil
		}
	}
	_, err = r.bestScore(c)
	return err
}

// LoadBest loads the checkpoint with the highest score, the earliest of equals. The
// error wraps fs.ErrNotExist if there is none, as before the first evaluation.
func LoadBest(dir, stage string) (*Checkpoint, error) {
	return LoadCheckpoint(filepath.Join(stageDir(dir, stage), bestName))
}
