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

// StudyEntry is a study that was begun, at a glance.
type StudyEntry struct {
	ID    string
	Study *study.Study // nil if it cannot be read
	Phase runs.Phase   // Running while a process executes it; else Finished, Failed, Stopped or Waiting
	Cells []StudyCell
	Err   error
}

// StudyCell is a cell of a study with its run.
type StudyCell struct {
	study.Result
	Run Entry // zero before it has begun
}

// Done is how many cells are done.
func (e StudyEntry) Done() int {
	n := 0
	for _, c := range e.Cells {
		if c.Phase == runs.Finished {
			n++
		}
	}
	return n
}

// Results are those of the cells.
func (e StudyEntry) Results() []study.Result {
	all := make([]study.Result, len(e.Cells))
	for i, c := range e.Cells {
		all[i] = c.Result
	}
	return all
}

// knownStudy is what need not be read again.
type knownStudy struct {
	study *study.Study // its file is never written again
	cells []knownCell
}

type knownCell struct {
	read  bool
	phase runs.Phase // of the run when its result was read
	alive runs.Alive // its process, then
	ended int        // stages, then
	study.Result
}

// Studies lists the studies of the folder, the latest first. When ctx is done it returns
// its error.
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
	slices.SortStableFunc(all, func(a, b StudyEntry) int { return cmp.Or(b.began().Compare(a.began()), cmp.Compare(b.ID, a.ID)) })
	return all, nil
}

func (e StudyEntry) began() time.Time {
	if e.Study == nil {
		return time.Time{}
	}
	return e.Study.Created
}

// Study looks at one study of the folder.
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
	// Before the cells: one that ends meanwhile is done and the study goes on.
	running, err := k.study.Running()
	e.Err = err
	for i := range k.cells {
		c, err := s.cell(ctx, k, i, now)
		if err != nil {
			e.Err = errors.Join(e.Err, fmt.Errorf("cell %s: %w", c.Name, err))
		}
		e.Cells = append(e.Cells, c)
	}
	e.Phase = together(e.Cells)
	if running {
		e.Phase = runs.Running
	}
	return e
}

// together is how far a study is that no process executes.
func together(cells []StudyCell) runs.Phase {
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

// cell looks at the run of a cell, and reads its result anew if a stage has
// ended since: nothing else changes it.
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
