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

// updateBest makes c the best checkpoint of its stage, unless the current best one has at
// least the same score.
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

// linkBest makes best.safetensors a link to the file at path, or a copy of it.
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

// bestScore returns the score of the stage's best checkpoint, -Inf if there is none. The
// first call verifies the whole file: otherwise a damaged file could prevent all later
// checkpoints from becoming the best, or could be replaced by a worse one without a
// warning. c is a checkpoint of the stage that is known to be intact.
func (r *Run) bestScore(c *Checkpoint) (float64, error) {
	if score, ok := r.best[c.Stage]; ok {
		return score, nil
	}
	path := filepath.Join(stageDir(r.dir, c.Stage), bestName)
	score := math.Inf(-1)
	have, err := verify(path, c.Stage)
	switch {
	case err == nil && !math.IsNaN(have.Score):
		score = have.Score
	case errors.Is(err, fs.ErrNotExist):
	default:
		if err == nil {
			err = fmt.Errorf("%s: the checkpoint was never evaluated", path)
		}
		if score, err = r.rebuildBest(c, err); err != nil {
			return 0, err
		}
	}
	r.best[c.Stage] = score
	return score, nil
}

// rebuildBest replaces a damaged best checkpoint with the best of the remaining ones and
// emits a warning. It returns the new best score, -Inf if no checkpoint was evaluated.
func (r *Run) rebuildBest(c *Checkpoint, damage error) (float64, error) {
	dir := stageDir(r.dir, c.Stage)
	ps, err := positions(dir)
	if err != nil {
		return 0, err
	}
	var others []*Checkpoint
	for _, p := range ps { // earliest first: the stable sort keeps this order for equal scores
		h, err := loadHeader(filepath.Join(dir, p.fileName()))
		if err == nil && !math.IsNaN(h.Score) {
			others = append(others, h)
		}
	}
	slices.SortStableFunc(others, func(a, b *Checkpoint) int { return cmp.Compare(b.Score, a.Score) })
	outcome, score := "no other checkpoint was evaluated; the next evaluated one becomes the best", math.Inf(-1)
	for _, h := range others {
		if h.Path != c.Path {
			if _, err := verify(h.Path, c.Stage); err != nil {
				continue
			}
		}
		if err := r.linkBest(c.Stage, h.Path, h.Score); err != nil {
			return 0, err
		}
		outcome, score = fmt.Sprintf("the best of the others, after epoch %d, replaces it", h.Epoch), h.Score
		break
	}
	if math.IsInf(score, -1) {
		if err := r.disk.remove(filepath.Join(dir, bestName)); err != nil {
			return 0, err
		}
	}
	e := Event{Kind: Warning, Stage: c.Stage, Message: fmt.Sprintf("cannot use the best checkpoint: %v; %s", damage, outcome)}
	return score, r.Emit(e)
}

// verify reads and checks the whole checkpoint file of a stage. The result has no tensors.
func verify(path, stage string) (*Checkpoint, error) {
	c, err := readCheckpoint(path, safetensors.Verify)
	if err == nil && c.Stage != stage {
		return nil, fmt.Errorf("runs: %s: the checkpoint belongs to stage %s", path, c.Stage)
	}
	return c, err
}

// checkBest verifies the best checkpoint of a stage that resumes from c.
func (r *Run) checkBest(c *Checkpoint) error {
	r.scoring.Lock()
	defer r.scoring.Unlock()
	best, err := os.Stat(filepath.Join(stageDir(r.dir, c.Stage), bestName))
	if err == nil && !math.IsNaN(c.Score) {
		if current, err := os.Stat(c.Path); err == nil && os.SameFile(best, current) {
			r.best[c.Stage] = c.Score // c has been read and verified
			return nil
		}
	}
	_, err = r.bestScore(c)
	return err
}

// LoadBest loads the checkpoint with the highest score, the earliest one if several have
// it. The error wraps fs.ErrNotExist if no checkpoint has been evaluated yet.
func LoadBest(dir, stage string) (*Checkpoint, error) {
	return LoadCheckpoint(filepath.Join(stageDir(dir, stage), bestName))
}
