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

// Executor executes the run of a cell and closes it, like launch.Execute.
type Executor func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error

// Watcher holds functions that are called while a study is executed. A *Watcher may be nil,
// and so may each function.
type Watcher struct {
	// Started is called before the first cell, after the study has been locked and its
	// data have been checked.
	Started func()
	// Event is called with warnings and errors that are not events of a cell's run, for
	// example if a cell fails. cell is nil if the event is about the whole study.
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

// Execute executes every unfinished cell. If a cell fails, Execute continues with the others;
// it joins the errors of all cells, each with the name of its cell. If ctx is done or the run
// of a cell is stopped, the error wraps pipeline.ErrInterrupted; a later Execute continues
// from there. The error wraps ErrOtherData if the classes of the data set have changed, and
// ErrFolderLost if a folder of the study was moved or deleted.
func (s *Study) Execute(ctx context.Context, w *Watcher, execute Executor) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	folders, err := s.holdFolders()
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
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) { // interrupted before its first stage
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
			s.record(cell, err, w)
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

// record records an attempt to execute a cell. If that fails, it emits a warning.
func (s *Study) record(cell Cell, failure error, w *Watcher) {
	if err := s.writeAttempt(cell, failure); err != nil {
		w.event(&cell, runs.Event{Kind: runs.Warning, Message: fmt.Sprintf("cannot record this attempt, so that study status will not show it: %v", err)})
	}
}

// cell executes cell i. configs holds the configuration of every cell, nil if it cannot be
// read.
func (s *Study) cell(ctx context.Context, i int, configs []*presets.Config, w *Watcher, execute Executor) error {
	run, err := s.open(ctx, s.Cells[i], configs[i], w)
	if err != nil {
		return err
	}
	s.record(s.Cells[i], nil, w)
	if err := s.takeOverFinished(ctx, run, configs, i, w); err != nil {
		return errors.Join(err, run.Close())
	}
	return execute(ctx, s.Cells[i], configs[i], run)
}

// done reports whether every stage of a cell is done and its result has been written.
func (s *Study) done(cell Cell) (bool, error) {
	status, err := runs.ReadStatus(s.RunDir(cell))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && status.Phase == runs.Finished, err
}

// open opens the run of a cell, and creates it if the cell has not started.
func (s *Study) open(ctx context.Context, cell Cell, c *presets.Config, w *Watcher) (*runs.Run, error) {
	if _, err := os.Stat(s.RunDir(cell)); errors.Is(err, fs.ErrNotExist) {
		before, err := s.readAttempt(cell)
		if err != nil {
			return nil, err
		}
		if before.Began {
			w.event(&cell, runs.Event{Kind: runs.Warning, Message: fmt.Sprintf("it was started before, but %s does not exist any more; it is trained again from its first stage", s.RunDir(cell))})
		}
		return runs.CreateIn(s.Root, cell.Run, c.TOML())
	}
	if err := pipeline.CheckResume(ctx, c, s.RunDir(cell)); err != nil {
		return nil, fmt.Errorf("%w\n(the study reads the configuration of this cell from %s)", err, s.configPath(cell))
	}
	return launch.Open(ctx, s.RunDir(cell))
}

// takeOverFinished makes run, of cell i, take over stages that are done in another cell and
// have the same result.
func (s *Study) takeOverFinished(ctx context.Context, run *runs.Run, configs []*presets.Config, i int, w *Watcher) error {
	keys := pipeline.StageKeys(configs[i])
	for _, stage := range method.Stages(configs[i]) {
		own, err := runs.ReadOutcome(run.Dir(), stage.Name)
		if err != nil {
			return err
		}
		if own != nil {
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

// takeOver makes run take over a stage from another cell, if the stage is done there, has not
// started here, and would have the same result here. The result may differ if the other
// cell's configuration was edited or the data have changed. If a finished stage cannot be
// taken over, takeOver emits a warning with the reason, and calls warn with it.
func (s *Study) takeOver(ctx context.Context, run *runs.Run, c *presets.Config, stage method.Stage, other Cell, warn func(runs.Event)) (bool, error) {
	from := s.RunDir(other)
	refuse := func(why string) (bool, error) {
		e := runs.Event{Kind: runs.Warning, Stage: stage.Name, Message: fmt.Sprintf("not taken over from run %s, but trained here: %s", other.Run, why)}
		warn(e)
		return false, run.Emit(e)
	}
	finished, err := runs.ReadOutcome(from, stage.Name)
	if err != nil {
		return refuse(err.Error())
	}
	if finished == nil {
		return false, nil
	}
	header, err := runs.LatestHeader(run.Dir(), stage.Name)
	if err != nil {
		return false, err
	}
	if header != nil && header.SHA256 != finished.SHA256 {
		return false, nil // the stage has started in this run and continues here
	}
	ownOutcome := func(stage string) (*runs.Outcome, error) { return runs.ReadOutcome(run.Dir(), stage) }
	differs, err := pipeline.Difference(ctx, c, stage, finished, ownOutcome)
	if err != nil {
		return false, err
	}
	if differs != "" {
		return refuse(differs)
	}
	err = run.TakeOver(from, stage.Name)
	if errors.As(err, new(*runs.Damaged)) {
		return refuse(err.Error())
	}
	return err == nil, err
}
