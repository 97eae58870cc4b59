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

// ErrFolderLost is wrapped by Execute's error when the folder of the study, or the
// folder of runs, has been moved or deleted.
var ErrFolderLost = errors.New("the study has lost its folder")

// folders holds the folders of a study that is being executed.
type folders struct {
	study     *Study
	root, own *runs.HeldFolder
}

func (s *Study) hold() (*folders, error) {
	root, err := runs.HoldFolder(s.Root)
	if err != nil {
		return nil, fmt.Errorf("study %s: %w", s.ID, err)
	}
	own, err := runs.HoldFolder(s.Dir())
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("study %s: %w", s.ID, err)
	}
	return &folders{s, root, own}, nil
}

func (f *folders) close() {
	f.root.Close()
	f.own.Close()
}

// lost returns an error if a folder has been moved or deleted. It says where it is now.
func (f *folders) lost() error {
	next := ""
	now, err := f.root.Lost()
	switch {
	case err != nil && now != "":
		next = "; go on with: " + f.study.resumeCommand(now)
	case err == nil:
		if now, err = f.own.Lost(); now != "" {
			next = fmt.Sprintf("; go on with: mv %s %s && %s", printable.Word(now), printable.Word(f.study.Dir()), f.study.resumeCommand(f.study.Root))
		}
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("study %s: %w: %w while it was being executed%s", f.study.ID, ErrFolderLost, err, next)
}

// attempt is the record of the last attempt to execute a cell. It is in the study's
// folder, so that it survives the loss of the run's folder.
type attempt struct {
	Time  time.Time `json:"time"`
	Began bool      `json:"began"`           // its run was there
	Error string    `json:"error,omitempty"` // why it failed
}

func (s *Study) attemptPath(c Cell) string {
	return filepath.Join(s.Dir(), cellsDir, c.Name+".attempt.json")
}

// noteAttempt records an attempt to execute a cell. failure is nil while the attempt
// is in progress.
func (s *Study) noteAttempt(c Cell, failure error) error {
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

// readAttempt returns the zero attempt if none was recorded.
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
