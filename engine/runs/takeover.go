package runs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TakeOver copies a finished stage of the run in dir to this run: the final and the best
// checkpoint, the tuning, the curves and the outcome, whose Origin names that run. Files
// are linked, or copied to another file system. The seals of the checkpoints are verified
// first. The stage must not have started in this run.
func (r *Run) TakeOver(dir, stage string) error {
	if err := r.takeOver(dir, stage); err != nil {
		return fmt.Errorf("runs: cannot take over stage %s from %s: %w", stage, dir, err)
	}
	return nil
}

func (r *Run) takeOver(dir, stage string) error {
	if err := checkName("stage", stage); err != nil {
		return err
	}
	o, err := ReadOutcome(dir, stage)
	if err != nil {
		return err
	}
	final, err := LoadFinal(dir, stage)
	if err != nil {
		return err
	}
	state, err := ReadState(context.Background(), dir)
	if err != nil {
		return err
	}
	to := stageDir(r.dir, stage)
	name := filepath.Base(final.Path)
	existing, err := positions(to)
	if err != nil {
		return err
	}
	for _, p := range existing { // one with the same name is left by a process that was killed here
		if p.fileName() != name {
			return errors.New("it has already started in this run")
		}
	}
	if err := r.makeStageDir(to); err != nil {
		return err
	}
	from := filepath.Dir(final.Path)
	for _, name := range []string{bestName, tuningName} {
		_, err := os.Stat(filepath.Join(from, name))
		if err == nil && name == bestName {
			_, err = verify(filepath.Join(from, name), stage) // a damaged best checkpoint is not taken over
		}
		if err == nil {
			if err := r.linkFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
	}
	path := filepath.Join(to, name)
	if err := r.linkFile(final.Path, path); err != nil {
		return err
	}
	if err := r.disk.syncDir(to); err != nil {
		return err
	}
	if err := r.copyEvents(state.Stage(stage), stage, o, filepath.Base(dir)); err != nil {
		return err
	}
	final.Path, final.Weights, final.Identity = path, o.Weights, o.Identity
	return r.finishStage(final, o.Values, o.origin(filepath.Base(dir)))
}

// origin returns the run that executed the stage. run is the one that holds the outcome.
func (o *Outcome) origin(run string) string {
	if o.Origin != "" {
		return o.Origin
	}
	return run
}

// copyEvents emits the start and the curves of a stage of another run.
func (r *Run) copyEvents(st *StageState, stage string, o *Outcome, from string) error {
	start := Event{Kind: StageStart, Stage: stage}
	var points []Point
	if st != nil {
		start.Method, start.Epochs, start.Steps = st.Method, st.Epochs, st.Steps
		points = st.Points
	}
	if err := r.Emit(start); err != nil {
		return err
	}
	if err := r.Emit(Event{Kind: Info, Stage: stage, Message: "taken over from run " + o.origin(from)}); err != nil {
		return err
	}
	for _, p := range points {
		e := Event{Kind: Epoch, Stage: stage, Epoch: p.Epoch, Step: p.Step, Values: p.Values}
		if _, trained := p.Values[Loss]; !trained {
			e.Kind = Eval
		}
		if err := r.Emit(e); err != nil {
			return err
		}
	}
	return nil
}

// linkFile links the file of another run to path atomically, or copies it.
func (r *Run) linkFile(from, path string) error {
	temp := path + ".tmp"
	if err := r.disk.remove(temp); err != nil {
		return err
	}
	if err := r.disk.link(from, temp); err != nil {
		return errors.Join(err, r.disk.remove(temp))
	}
	if err := r.disk.rename(temp, path); err != nil {
		return err
	}
	return r.disk.remove(temp) // if path was already a link to the same file, rename does not remove temp
}
