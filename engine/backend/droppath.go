package backend

import (
	"fmt"

	"hatchery/engine/random"
	"hatchery/models"
)

// DropPath draws the values of a drop-path input. All backends use it, so that they drop
// the same branches.
type DropPath struct {
	models.DropPath
	seed    uint64
	purpose string
}

// NewDropPath returns the DropPath of input d in a job.
func NewDropPath(d models.DropPath, j *Job) DropPath {
	return DropPath{d, j.Seed, fmt.Sprintf("%s/drop_path/%s", j.Purpose, d.Layer.Owner)}
}

// Draw fills scale for the samples of a pass: 0 where the branch is dropped,
// else 1/(1-Rate). first is the index in the epoch of the pass's first sample.
func (d *DropPath) Draw(scale []float32, s *random.Stream, epoch, first int) {
	keep := 1 - d.Rate
	for i := range scale {
		s.Reset(d.seed, d.purpose, uint64(d.Layer.Block), uint64(d.Branch), uint64(epoch), uint64(first+i))
		scale[i] = 0
		if s.Float64() < keep {
			scale[i] = float32(1 / keep)
		}
	}
}
