package study

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// Executor executes the run of a cell to its end and closes it, like
// launch.Execute.
type Executor func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error

// Watcher has functions that are called while a study is executed. It may be nil, and
// so may each function.
type Watcher struct {
	// Started is called before the first cell, when the study is locked and its data
	// have been compared.
	Started func()
	// Event is called with warnings and errors that are not events of a cell's run,
	// for example that a cell failed. cell is nil if the event is about the whole
	// study.
	Event func(cell *Cell, e runs.Event)
}

func (w *Watcher) started() {
	if w != nil && w.Started != nil {
		w.Started()
	}
}

func (w *Watcher) event(cell *Cell, e runs.Event) {
	if w != nil && w.Event != nil {
		e.Time = time.Now().UTC().Truncate(time.Millisecond)
		w.Event(cell, e)
	}
}

// Execute executes every cell that is not done. A cell that fails does not keep
// the others from their turn; the errors of all are joined, each with the name
// of its cell. When ctx ends or the run of a cell is stopped, the error wraps
// pipeline.ErrInterrupted, and Execute goes on from there. It wraps
// ErrOtherData before anything is executed on another data set than the cells
// that have begun, and ErrFolderLost when a folder of the study is moved or
// deleted meanwhile.
func (s *Study) Execute(ctx context.Context, w *Watcher, execute Executor) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	folders, err := s.hold()
	if err != nil {
		return err
	}
	defer folders.close()
	configs, broken := make([]*presets.Config, len(s.Cells)), make([]error, len(s.Cells))
	for i, cell := range s.Cells {
		configs[i], broken[i] = s.Config(cell)
	}
	if !s.allDone() {
		if err := s.checkData(ctx, configs, w); err != nil {
			return err
		}
	}
	w.started()
	var failed []error
	for i, cell := range s.Cells {
		if err := folders.lost(); err != nil {
			return errors.Join(append(failed, err)...)
		}
		done, err := s.done(cell)
		if done {
			continue
		}
		if ctx.Err() != nil {
			return errors.Join(append(failed, pipeline.ErrInterrupted)...)
		}
		if err = cmp.Or(err, broken[i]); err == nil {
			err = s.cell(ctx, i, configs, w, execute)
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) { // before its first stage
			err = pipeline.ErrInterrupted
		}
		if errors.Is(err, pipeline.ErrInterrupted) {
			return errors.Join(append(failed, err)...)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("cell %s: %w", cell.Name, err))
			w.event(&cell, runs.Event{Kind: runs.Error, Message: err.Error()})
			if lost := folders.lost(); lost != nil {
				return errors.Join(append(failed, lost)...)
			}
			s.note(cell, err, w)
		}
	}
	return errors.Join(append(failed, folders.lost())...)
}

// allDone reports whether every cell is done.
func (s *Study) allDone() bool {
	return !slices.ContainsFunc(s.Cells, func(c Cell) bool {
		done, _ := s.done(c)
		return !done
	})
}

// note records an attempt at a cell. If that fails, it warns, and the study continues.
func (s *Study) note(cell Cell, failure error, w *Watcher) {
	if err := s.noteAttempt(cell, failure); err != nil {
		w.event(&cell, runs.Event{Kind: runs.Warning, Message: fmt.Sprintf("study status will not know of this attempt: %v", err)})
	}
}

// cell executes cell i. configs has the configuration of every cell, nil for one whose
// configuration cannot be read.
func (s *Study) cell(ctx context.Context, i int, configs []*presets.Config, w *Watcher, execute Executor) error {
	run, err := s.open(ctx, s.Cells[i], configs[i], w)
	if err != nil {
		return err
	}
	s.note(s.Cells[i], nil, w)
	if err := s.share(ctx, run, configs, i, w); err != nil {
		return errors.Join(err, run.Close())
	}
	return execute(ctx, s.Cells[i], configs[i], run)
}

// done says whether every stage of a cell is done and its result written.
func (s *Study) done(cell Cell) (bool, error) {
	status, err := runs.ReadStatus(s.RunDir(cell))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && status.Phase == runs.Finished, err
}

// open opens the run of a cell, and makes it if it has not begun.
func (s *Study) open(ctx context.Context, cell Cell, c *presets.Config, w *Watcher) (*runs.Run, error) {
	if _, err := os.Stat(s.RunDir(cell)); errors.Is(err, fs.ErrNotExist) {
		before, err := s.readAttempt(cell)
		if err != nil {
			return nil, err
		}
		if before.Began {
			w.event(&cell, runs.Event{Kind: runs.Warning, Message: fmt.Sprintf("it has begun before, but %s is not there any more; it is trained again from its first stage", s.RunDir(cell))})
		}
		return runs.CreateIn(s.Root, cell.Run, c.TOML())
	}
	if err := pipeline.CheckResume(ctx, c, s.RunDir(cell)); err != nil {
		return nil, fmt.Errorf("%w\n(the study reads the configuration of this cell from %s)", err, s.configPath(cell))
	}
	return launch.Open(ctx, s.RunDir(cell))
}

// share has run, of cell i, take over the stages that are done in another cell
// and come out the same here.
func (s *Study) share(ctx context.Context, run *runs.Run, configs []*presets.Config, i int, w *Watcher) error {
	keys := pipeline.StageKeys(configs[i])
	for _, stage := range method.Stages(configs[i]) {
		mine, err := runs.ReadOutcome(run.Dir(), stage.Name)
		if err != nil {
			return err
		}
		if mine != nil {
			continue
		}
		for j, other := range s.Cells {
			if j == i || configs[j] == nil || pipeline.StageKeys(configs[j])[stage.Name] != keys[stage.Name] {
				continue
			}
			taken, err := s.takeOver(ctx, run, configs[i], stage, other, func(e runs.Event) { w.event(&s.Cells[i], e) })
			if err != nil {
				return err
			}
			if taken {
				break
			}
		}
	}
	return nil
}

// takeOver makes run take over a stage from another cell, if the stage is done there,
// has not begun here, and would come out the same here; the other cell's configuration
// may have been edited since, or the data may have changed. If a finished stage cannot
// be taken over, a warning in the run's events, which say gets too, says why.
func (s *Study) takeOver(ctx context.Context, run *runs.Run, c *presets.Config, stage method.Stage, other Cell, say func(runs.Event)) (bool, error) {
	from := s.RunDir(other)
	not := func(why string) (bool, error) {
		e := runs.Event{Kind: runs.Warning, Stage: stage.Name, Message: fmt.Sprintf("not taken over from run %s but trained here: %s", other.Run, why)}
		say(e)
		return false, run.Emit(e)
	}
	theirs, err := runs.ReadOutcome(from, stage.Name)
	if err != nil {
		return not(err.Error())
	}
	if theirs == nil {
		return false, nil
	}
	begun, err := runs.LatestHeader(run.Dir(), stage.Name)
	if err != nil {
		return false, err
	}
	if begun != nil && begun.SHA256 != theirs.SHA256 {
		return false, nil // the stage has begun in this run, and continues here
	}
	have := func(stage string) (*runs.Outcome, error) { return runs.ReadOutcome(run.Dir(), stage) }
	differs, err := pipeline.Differs(ctx, c, stage, theirs, have)
	if err != nil {
		return false, err
	}
	if differs != "" {
		return not(differs)
	}
	err = run.TakeOver(from, stage.Name)
	if errors.As(err, new(*runs.Damaged)) {
		return not(err.Error())
	}
	return err == nil, err
}
