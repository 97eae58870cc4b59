package study

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestFolderMoved checks that a study stops if its folder, or the folder of runs, is moved or
// deleted while a cell is executed, that the error names the new path, and that the folder is
// not recreated.
func TestFolderMoved(t *testing.T) {
	for what, test := range map[string]struct {
		move func(s *Study, to string) error
		gone func(s *Study) string
		next string // the command in the error; TO stands for the new path
	}{
		"runs": {
			func(s *Study, to string) error { return os.Rename(s.Root, to) },
			func(s *Study) string { return s.Root },
			"was moved to TO during the study; resume with: hatchery --runs-dir=TO study resume ",
		},
		"study": {
			func(s *Study, to string) error { return os.Rename(s.Dir(), to) },
			func(s *Study) string { return s.Dir() },
			"was moved to TO during the study; resume with: mv TO ",
		},
		"deleted": {
			func(s *Study, _ string) error { return os.RemoveAll(s.Root) },
			func(s *Study) string { return s.Root },
			"was deleted during the study",
		},
	} {
		t.Run(what, func(t *testing.T) {
			base := t.TempDir()
			s, err := Create(t.Context(), filepath.Join(base, "runs"), tiny(t), Options{})
			if err != nil {
				t.Fatal(err)
			}
			to, tried := filepath.Join(base, "elsewhere"), 0
			err = s.Execute(t.Context(), nil, func(_ context.Context, _ Cell, _ *presets.Config, run *runs.Run) error {
				tried++
				return errors.Join(errors.New("it failed"), test.move(s, to), run.Close())
			})
			if err == nil || !strings.Contains(err.Error(), "the study has lost its folder") || !strings.Contains(err.Error(), strings.ReplaceAll(test.next, "TO", to)) ||
				!strings.Contains(err.Error(), "cell lr-0.001: it failed") || tried != 1 {
				t.Errorf("%d cells were tried: %v", tried, err)
			}
			if _, err := os.Lstat(test.gone(s)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there again: %v", test.gone(s), err)
			}
		})
	}
}
