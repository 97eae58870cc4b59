package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hatchery/engine/runs"
	"hatchery/engine/study"
)

// StudyEntry summarizes a study that was started.
type StudyEntry struct {
	ID    string
	Study *study.Study // nil if it cannot be read
	Phase runs.Phase   // Running while a process executes the study; otherwise Finished, Failed, Stopped or Waiting
	Cells []StudyCell
	Err   error
}

// StudyCell is a cell of a study with its run.
type StudyCell struct {
	study.Result
	Run Entry // zero if the run has not started
}

// Done returns the number of cells that are done.
func (e StudyEntry) Done() int {
	n := 0
	for _, c := range e.Cells {
		if c.Phase == runs.Finished {
			n++
		}
	}
	return n
}

// Results returns the results of the cells.
func (e StudyEntry) Results() []study.Result {
	all := make([]study.Result, len(e.Cells))
	for i, c := range e.Cells {
		all[i] = c.Result
	}
	return all
}

// knownStudy caches a study.
type knownStudy struct {
	study *study.Study // its file never changes
	cells []knownCell
}

// knownCell caches the result of a cell, with the state of its run when it was read.
type knownCell struct {
	read  bool
	phase runs.Phase
	alive runs.Alive
	ended int // number of stages that had ended
	study.Result
}

// Studies returns the studies of the folder, the latest first. If ctx is done, it returns
// the error of ctx.
func (s *Scanner) Studies(ctx context.Context, now time.Time) ([]StudyEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	folders, err := runs.Folders(filepath.Join(s.Root, runs.StudiesDir))
	if err != nil {
		return nil, fmt.Errorf("the folder of studies cannot be read: %w", err)
	}
	var all []StudyEntry
	for _, id := range folders {
		all = append(all, s.study(ctx, id, now))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b StudyEntry) int { return cmp.Or(b.created().Compare(a.created()), cmp.Compare(b.ID, a.ID)) })
	return all, nil
}

func (e StudyEntry) created() time.Time {
	if e.Study == nil {
		return time.Time{}
	}
	return e.Study.Created
}

// Study reads one study of the folder.
func (s *Scanner) Study(ctx context.Context, id string, now time.Time) StudyEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.study(ctx, id, now)
}

func (s *Scanner) study(ctx context.Context, id string, now time.Time) StudyEntry {
	e := StudyEntry{ID: id}
	k := s.studies[id]
	if k == nil {
		read, err := study.Open(s.Root, id)
		if err != nil {
			e.Err = err
			return e
		}
		k = &knownStudy{study: read, cells: make([]knownCell, len(read.Cells))}
		if s.studies == nil {
			s.studies = map[string]*knownStudy{}
		}
		s.studies[id] = k
	}
	e.Study = k.study
	// This is read before the cells. If a cell ends in between, it is shown as done while the
	// study still runs.
	running, err := k.study.Running()
	e.Err = err
	for i := range k.cells {
		c, err := s.cell(ctx, k, i, now)
		if err != nil {
			e.Err = errors.Join(e.Err, fmt.Errorf("cell %s: %w", c.Name, err))
		}
		e.Cells = append(e.Cells, c)
	}
	e.Phase = phaseOf(e.Cells)
	if running {
		e.Phase = runs.Running
	}
	return e
}

// phaseOf returns the phase of a study that no process executes.
func phaseOf(cells []StudyCell) runs.Phase {
	count := map[runs.Phase]int{}
	for _, c := range cells {
		count[c.Phase]++
	}
	switch {
	case count[runs.Finished] == len(cells):
		return runs.Finished
	case count[runs.Failed] > 0:
		return runs.Failed
	case count[runs.Waiting] == len(cells):
		return runs.Waiting
	}
	return runs.Stopped
}

// cell reads the run of a cell. It reads the result again only if the state of the run has
// changed or a stage has ended, because nothing else changes the result.
func (s *Scanner) cell(ctx context.Context, k *knownStudy, i int, now time.Time) (StudyCell, error) {
	known, cell := &k.cells[i], k.study.Cells[i]
	dir := k.study.RunDir(cell)
	c := StudyCell{Result: study.Result{Cell: cell, Phase: runs.Waiting}}
	ended := 0
	if _, err := os.Stat(dir); err == nil {
		kn, run := s.entry(cell.Run, now)
		if s.known == nil {
			s.known = map[string]*knownRun{}
		}
		s.known[cell.Run] = kn
		c.Run, c.Phase = run, cmp.Or(run.Live.Status.Phase, runs.Waiting)
		if ended, err = runs.CountEnded(dir); err != nil {
			return c, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if !known.read || known.phase != c.Phase || known.alive != c.Run.Live.Alive || known.ended != ended {
		r := k.study.Result(ctx, cell)
		if r.Err != nil {
			c.Result = r
			return c, r.Err
		}
		*known = knownCell{read: true, phase: c.Phase, alive: c.Run.Live.Alive, ended: ended, Result: r}
	}
	c.Result = known.Result
	return c, c.Run.Err
}
