package study

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"hatchery/engine/atomicfile"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
)

// ErrFolderLost is wrapped by the error of Execute if the folder of the study, or the folder
// of runs, has been moved or deleted.
var ErrFolderLost = errors.New("the study has lost its folder")

// folders holds the open folders of a study that is being executed.
type folders struct {
	study     *Study
	root, dir *runs.HeldFolder
}

func (s *Study) holdFolders() (*folders, error) {
	root, err := runs.HoldFolder(s.Root)
	if err != nil {
		return nil, fmt.Errorf("study %s: %w", s.ID, err)
	}
	dir, err := runs.HoldFolder(s.Dir())
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("study %s: %w", s.ID, err)
	}
	return &folders{s, root, dir}, nil
}

func (f *folders) close() {
	f.root.Close()
	f.dir.Close()
}

// lost returns an error if a folder has been moved or deleted. The error names its new path.
func (f *folders) lost() error {
	next := ""
	now, err := f.root.Lost()
	switch {
	case err != nil && now != "":
		next = "; resume with: " + f.study.resumeCommand(now)
	case err == nil:
		if now, err = f.dir.Lost(); now != "" {
			next = fmt.Sprintf("; resume with: mv %s %s && %s", printable.Word(now), printable.Word(f.study.Dir()), f.study.resumeCommand(f.study.Root))
		}
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("study %s: %w: %w during the study%s", f.study.ID, ErrFolderLost, err, next)
}

// attempt is the record of the last attempt to execute a cell. It is stored in the study's
// folder, so that it survives the loss of the run's folder.
type attempt struct {
	Time  time.Time `json:"time"`
	Began bool      `json:"began"`           // whether the cell's run has been created
	Error string    `json:"error,omitempty"` // the reason of its failure
}

func (s *Study) attemptPath(c Cell) string {
	return filepath.Join(s.Dir(), cellsDir, c.Name+".attempt.json")
}

// writeAttempt records an attempt to execute a cell. failure is nil while the attempt is in
// progress.
func (s *Study) writeAttempt(c Cell, failure error) error {
	_, err := os.Stat(s.RunDir(c))
	before, _ := s.readAttempt(c)
	a := attempt{Time: time.Now().UTC(), Began: err == nil || before.Began}
	if failure != nil {
		a.Error = failure.Error()
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.attemptPath(c), append(data, '\n'), 0o644)
}

// readAttempt reads the record of the last attempt. It returns the zero attempt if there is
// none.
func (s *Study) readAttempt(c Cell) (attempt, error) {
	var a attempt
	data, err := os.ReadFile(s.attemptPath(c))
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return a, fmt.Errorf("%s: %w", s.attemptPath(c), err)
	}
	return a, nil
}
