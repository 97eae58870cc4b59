package slurm

import (
	"strings"
	"testing"
)

// Slurm takes parts of the paths of a job's output for patterns.
func TestFolderThatIsAPattern(t *testing.T) {
	c := config(t)
	if _, err := newPlace(`/runs/a\b`, "", c); err == nil || !strings.Contains(err.Error(), "backslash") {
		t.Errorf("%v", err)
	}
}
