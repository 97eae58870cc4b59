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

// ErrFolderLost is wrapped by Execute's error when the folder of the study, or
// the folder of runs that it is in, is not where it was any more.
var ErrFolderLost = errors.New("the study has lost its folder")

// folders are those of a study that is being executed.
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

// lost says that a folder is not in its place, and where it is; nil if all are.
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

// attempt is what the study's own folder says of the last attempt to execute a
// cell, whatever became of the folder of its run.
type attempt struct {
	Time  time.Time `json:"time"`
	Began bool      `json:"began"`           // its run was there
	Error string    `json:"error,omitempty"` // why it failed
}

func (s *Study) attemptPath(c Cell) string {
	return filepath.Join(s.Dir(), cellsDir, c.Name+".attempt.json")
}

// noteAttempt keeps how an attempt to execute a cell stands; failure is nil
// while it goes on.
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

// readAttempt is zero for a cell of which nothing was kept.
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
