package slurm

import (
	"strings"
	"testing"
)

// Slurm interprets parts of the path of a job's output as patterns.
func TestFolderThatIsAPattern(t *testing.T) {
	c := config(t)
	if _, err := newJobSetup(`/runs/a\b`, "", c); err == nil || !strings.Contains(err.Error(), "backslash") {
		t.Errorf("%v", err)
	}
}
